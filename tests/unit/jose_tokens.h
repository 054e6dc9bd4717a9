/* SPDX-License-Identifier: MIT */
/* Written by tests/tools/jose_tokens.mjs with the npm package jose; do not edit. Public keys, and tokens
 * whose private keys nobody has any more: good from 1800000000 to 1800003600, for "evenkeel",
 * by https://id.example. */
#ifndef EK_TESTS_JOSE_TOKENS_H
#define EK_TESTS_JOSE_TOKENS_H

#include "guard/jwt.h"

static const char jose_keys[] =
    "{\"keys\":[{\"kty\":\"RSA\",\"n\":\"wI-Bqvu2A24b-u5MGTBKJ44_olJt1kYtYOx2Aw1p16wf2zk1dgbSN"
    "IcK4Um8aQzpw5ZO16YcL0hVH0QsmdanySN1uDLgZNbDXiIzJTB-1-8PdnRXLucujrnFZo5Vxm1gRZ8DO"
    "hLNe9oQRib9-tOX1gSDTR7iOSBpmPanX0Xjl1r-UNeDKFhA_BGFb5m1e3G0yMjNTcdz869-XFTtAOGet"
    "BMJcnuRa1nNJdUS-pWCqyw-ery4VANTXeQx7enWcyhc_uxmYq_HARzqd9v17i0_VpmIDhwwfTZjnB3F1"
    "xHMhyu6dtor021-5ZqomGqUsMfdQmKSd6y0g8Ovor7MmxIiLQ\",\"e\":\"AQAB\",\"kid\":\"rsa-1\",\"alg"
    "\":\"RS256\",\"use\":\"sig\"},{\"kty\":\"EC\",\"x\":\"i8zw2VbjF6Yby6w3KULXCFLaO7dUxw-X5IyyJXFS"
    "qQg\",\"y\":\"TC_9jySbWda4xGlBYs2TNDixJfEQMXkxyLrRVg4JHGI\",\"crv\":\"P-256\",\"kid\":\"ec-1"
    "\",\"alg\":\"ES256\",\"use\":\"sig\"},{\"crv\":\"Ed25519\",\"x\":\"2d9H-_WH3CzOKSIscT7xEexPTMxdG"
    "epFn3rYjvl6Op0\",\"kty\":\"OKP\",\"kid\":\"ed-1\",\"alg\":\"EdDSA\",\"use\":\"sig\"}]}";

static const struct {
    const char *name;
    enum ek_jwt_fault fault;
    const char *token;
} jose_tokens[] = {
    {"RS256", EK_JWT_NONE,
     "eyJhbGciOiJSUzI1NiIsImtpZCI6InJzYS0xIn0.eyJzdWIiOiJhbGljZSIsImdyb3VwcyI6WyJzdGFm"
     "ZiIsInBybyJdLCJpYXQiOjE4MDAwMDAwMDAsImV4cCI6MTgwMDAwMzYwMCwiaXNzIjoiaHR0cHM6Ly9p"
     "ZC5leGFtcGxlIiwiYXVkIjoiZXZlbmtlZWwifQ.vT1qZgjWt9567QVo-67oHXf58zldmaywmSCKOAoFg"
     "yA5IaxYP9aBrvhNYU3KkV4_vECBIWpSqSvZHPYK3lHhZTOMkgWIEpR4zYJq4DO5NvQfFs9qGL_yErIX9"
     "pyvNCTmsZCYduffKDysTlxOcPpdlCX2hjPpAmETkjrhJbMX1FUOY7zh0UgDnTnuIuRyZ_YwS-Czs2aTb"
     "g0hE58hTCpjo3W3eIJD0yfIxE7ZYZbuew5fSi5icYVzxoCTdNuf2-vuQo2Wz7KQiVeIp181w_KNjPvUs"
     "AVPvhvofH2_QOdH3hBLslge3htZ12mdPhTaalt4G9oXcm2p76GMhcHcwWaz6g"},
    {"ES256", EK_JWT_NONE,
     "eyJhbGciOiJFUzI1NiIsImtpZCI6ImVjLTEifQ.eyJzdWIiOiJhbGljZSIsImdyb3VwcyI6WyJzdGFmZ"
     "iIsInBybyJdLCJpYXQiOjE4MDAwMDAwMDAsImV4cCI6MTgwMDAwMzYwMCwiaXNzIjoiaHR0cHM6Ly9pZ"
     "C5leGFtcGxlIiwiYXVkIjoiZXZlbmtlZWwifQ.RmCXS4DMgGwjNZvkOvbxAuhOu2_9dIJTmXA2QOEevS"
     "XyHix-MVceIzEZZjBnLGyoSpFpqAe6JSeenhGwGsH8pA"},
    {"EdDSA", EK_JWT_NONE,
     "eyJhbGciOiJFZERTQSIsImtpZCI6ImVkLTEifQ.eyJzdWIiOiJhbGljZSIsImdyb3VwcyI6WyJzdGFmZ"
     "iIsInBybyJdLCJpYXQiOjE4MDAwMDAwMDAsImV4cCI6MTgwMDAwMzYwMCwiaXNzIjoiaHR0cHM6Ly9pZ"
     "C5leGFtcGxlIiwiYXVkIjoiZXZlbmtlZWwifQ.fheN5hyXmhITtNso5CopKxCUv-n8hpc-Vps2cnO6Kz"
     "87VuABNw53kvdSpoMZEuIkDO5RIL7l2cVXCzAacpNjBg"},
    {"typ JWT", EK_JWT_NONE,
     "eyJhbGciOiJSUzI1NiIsImtpZCI6InJzYS0xIiwidHlwIjoiSldUIn0.eyJzdWIiOiJhbGljZSIsImdy"
     "b3VwcyI6WyJzdGFmZiIsInBybyJdLCJpYXQiOjE4MDAwMDAwMDAsImV4cCI6MTgwMDAwMzYwMCwiaXNz"
     "IjoiaHR0cHM6Ly9pZC5leGFtcGxlIiwiYXVkIjoiZXZlbmtlZWwifQ.BsUQtTtR9ixRHwUSDmxVEsWfU"
     "k_lhbwfKGriR8qxEatJHasuNED7ljDc33Z8YygLndDxmJPL8gTf9W4rJT0e0DcUJT7_ERwzoFuuZRFDt"
     "j4D8HJcbbbbqUWUc7HEwFfCXsa5jiOF1JuRq2nblQrHmeedcOsoufvGDEsWA7PEZManeKKFw2_o73_qp"
     "SSAkuxiVpvJwG1dOcnq2990d6sIi56iB52k_Kr3DoYt_J7IZrDkITg9Hx0ysihEDs_Pa25y9ohRmjkRI"
     "7QqCNzgbO9egC_urau9kUkk3LR9MkwzMyD3LRlFwZBUN5GKPbWm8GaeOep4yGeVOOzU5YIWl6v3YQ"},
    {"typ at+jwt", EK_JWT_NONE,
     "eyJhbGciOiJFZERTQSIsImtpZCI6ImVkLTEiLCJ0eXAiOiJhdCtqd3QifQ.eyJzdWIiOiJhbGljZSIsI"
     "mdyb3VwcyI6WyJzdGFmZiIsInBybyJdLCJpYXQiOjE4MDAwMDAwMDAsImV4cCI6MTgwMDAwMzYwMCwia"
     "XNzIjoiaHR0cHM6Ly9pZC5leGFtcGxlIiwiYXVkIjoiZXZlbmtlZWwifQ.DsTLTtD4o16LQoxU8hTZxm"
     "hXk5NIILlvTvnRuVUFeJBXVOT3PCpNBATGSsT4d0SAPMMDgX2xkVzUEj4pI_lhAQ"},
    {"list of audiences", EK_JWT_NONE,
     "eyJhbGciOiJFUzI1NiIsImtpZCI6ImVjLTEifQ.eyJzdWIiOiJhbGljZSIsImdyb3VwcyI6WyJzdGFmZ"
     "iIsInBybyJdLCJhdWQiOlsib3RoZXIiLCJldmVua2VlbCJdLCJpYXQiOjE4MDAwMDAwMDAsImV4cCI6M"
     "TgwMDAwMzYwMCwiaXNzIjoiaHR0cHM6Ly9pZC5leGFtcGxlIn0.UD4bsbGrF0FGc-m16K3PXVBfpTDN9"
     "uHnb8S5eEFz5OSUspdeaLghre4XkUU3reVIMGe7U1OlrlYeg93NMy_5GA"},
    {"no kid, one RSA key", EK_JWT_NONE,
     "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhbGljZSIsImdyb3VwcyI6WyJzdGFmZiIsInBybyJdLCJpYXQ"
     "iOjE4MDAwMDAwMDAsImV4cCI6MTgwMDAwMzYwMCwiaXNzIjoiaHR0cHM6Ly9pZC5leGFtcGxlIiwiYXV"
     "kIjoiZXZlbmtlZWwifQ.PSyDaEzVDmpcS2GURFc5_ruTHRDCFTlUFGKIU4LXb2esbetHbFZqCeCEE_Eo"
     "OClDYe6qRoBq2IXGEEHGi32GGOzyVBw0Nll9MkztxUjsi5gJgiDeaouTnA25fl-zhtFFkPsDSTFPZATZ"
     "PDEAp9yAKIjj0kkMPOKX_M9UEbaV55LfVi1pE-4jjPySkXjUek_NiRuzvS78csjuPyeVLIEYfYtAMv0O"
     "FTqZWsJWUBW1Qu3rIcMrm6QU2YAAb34RUAmKGY9Q-VAwqaHSEW7BHrZ2x7vr4vJObP2WX4PC9gRlyO6z"
     "KFVwibw5yPpcMKMkuHp95sMBIqev_z9G7NbuNCZB5Q"},
    {"alg none", EK_JWT_ALGORITHM,
     "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbGljZSIsImdyb3VwcyI6WyJzdGFmZiIsInBybyJdLCJpc3Mi"
     "OiJodHRwczovL2lkLmV4YW1wbGUiLCJhdWQiOiJldmVua2VlbCIsImV4cCI6MTgwMDAwMzYwMH0.AA"},
    {"alg none, no signature", EK_JWT_FORM,
     "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbGljZSIsImdyb3VwcyI6WyJzdGFmZiIsInBybyJdLCJpc3Mi"
     "OiJodHRwczovL2lkLmV4YW1wbGUiLCJhdWQiOiJldmVua2VlbCIsImlhdCI6MTgwMDAwMDAwMCwiZXhw"
     "IjoxODAwMDAzNjAwfQ."},
    {"alg None", EK_JWT_ALGORITHM,
     "eyJhbGciOiJOb25lIiwia2lkIjoicnNhLTEifQ.eyJzdWIiOiJhbGljZSIsImdyb3VwcyI6WyJzdGFmZ"
     "iIsInBybyJdLCJpYXQiOjE4MDAwMDAwMDAsImV4cCI6MTgwMDAwMzYwMCwiaXNzIjoiaHR0cHM6Ly9pZ"
     "C5leGFtcGxlIiwiYXVkIjoiZXZlbmtlZWwifQ.vT1qZgjWt9567QVo-67oHXf58zldmaywmSCKOAoFgy"
     "A5IaxYP9aBrvhNYU3KkV4_vECBIWpSqSvZHPYK3lHhZTOMkgWIEpR4zYJq4DO5NvQfFs9qGL_yErIX9p"
     "yvNCTmsZCYduffKDysTlxOcPpdlCX2hjPpAmETkjrhJbMX1FUOY7zh0UgDnTnuIuRyZ_YwS-Czs2aTbg"
     "0hE58hTCpjo3W3eIJD0yfIxE7ZYZbuew5fSi5icYVzxoCTdNuf2-vuQo2Wz7KQiVeIp181w_KNjPvUsA"
     "VPvhvofH2_QOdH3hBLslge3htZ12mdPhTaalt4G9oXcm2p76GMhcHcwWaz6g"},
    {"alg missing", EK_JWT_ALGORITHM,
     "eyJraWQiOiJyc2EtMSJ9.eyJzdWIiOiJhbGljZSIsImdyb3VwcyI6WyJzdGFmZiIsInBybyJdLCJpYXQ"
     "iOjE4MDAwMDAwMDAsImV4cCI6MTgwMDAwMzYwMCwiaXNzIjoiaHR0cHM6Ly9pZC5leGFtcGxlIiwiYXV"
     "kIjoiZXZlbmtlZWwifQ.vT1qZgjWt9567QVo-67oHXf58zldmaywmSCKOAoFgyA5IaxYP9aBrvhNYU3K"
     "kV4_vECBIWpSqSvZHPYK3lHhZTOMkgWIEpR4zYJq4DO5NvQfFs9qGL_yErIX9pyvNCTmsZCYduffKDys"
     "TlxOcPpdlCX2hjPpAmETkjrhJbMX1FUOY7zh0UgDnTnuIuRyZ_YwS-Czs2aTbg0hE58hTCpjo3W3eIJD"
     "0yfIxE7ZYZbuew5fSi5icYVzxoCTdNuf2-vuQo2Wz7KQiVeIp181w_KNjPvUsAVPvhvofH2_QOdH3hBL"
     "slge3htZ12mdPhTaalt4G9oXcm2p76GMhcHcwWaz6g"},
    {"alg a number", EK_JWT_ALGORITHM,
     "eyJhbGciOjI1Niwia2lkIjoicnNhLTEifQ.eyJzdWIiOiJhbGljZSIsImdyb3VwcyI6WyJzdGFmZiIsI"
     "nBybyJdLCJpYXQiOjE4MDAwMDAwMDAsImV4cCI6MTgwMDAwMzYwMCwiaXNzIjoiaHR0cHM6Ly9pZC5le"
     "GFtcGxlIiwiYXVkIjoiZXZlbmtlZWwifQ.vT1qZgjWt9567QVo-67oHXf58zldmaywmSCKOAoFgyA5Ia"
     "xYP9aBrvhNYU3KkV4_vECBIWpSqSvZHPYK3lHhZTOMkgWIEpR4zYJq4DO5NvQfFs9qGL_yErIX9pyvNC"
     "TmsZCYduffKDysTlxOcPpdlCX2hjPpAmETkjrhJbMX1FUOY7zh0UgDnTnuIuRyZ_YwS-Czs2aTbg0hE5"
     "8hTCpjo3W3eIJD0yfIxE7ZYZbuew5fSi5icYVzxoCTdNuf2-vuQo2Wz7KQiVeIp181w_KNjPvUsAVPvh"
     "vofH2_QOdH3hBLslge3htZ12mdPhTaalt4G9oXcm2p76GMhcHcwWaz6g"},
    {"alg null", EK_JWT_ALGORITHM,
     "eyJhbGciOm51bGwsImtpZCI6InJzYS0xIn0.eyJzdWIiOiJhbGljZSIsImdyb3VwcyI6WyJzdGFmZiIs"
     "InBybyJdLCJpYXQiOjE4MDAwMDAwMDAsImV4cCI6MTgwMDAwMzYwMCwiaXNzIjoiaHR0cHM6Ly9pZC5l"
     "eGFtcGxlIiwiYXVkIjoiZXZlbmtlZWwifQ.vT1qZgjWt9567QVo-67oHXf58zldmaywmSCKOAoFgyA5I"
     "axYP9aBrvhNYU3KkV4_vECBIWpSqSvZHPYK3lHhZTOMkgWIEpR4zYJq4DO5NvQfFs9qGL_yErIX9pyvN"
     "CTmsZCYduffKDysTlxOcPpdlCX2hjPpAmETkjrhJbMX1FUOY7zh0UgDnTnuIuRyZ_YwS-Czs2aTbg0hE"
     "58hTCpjo3W3eIJD0yfIxE7ZYZbuew5fSi5icYVzxoCTdNuf2-vuQo2Wz7KQiVeIp181w_KNjPvUsAVPv"
     "hvofH2_QOdH3hBLslge3htZ12mdPhTaalt4G9oXcm2p76GMhcHcwWaz6g"},
    {"HS256 with the public key as PEM", EK_JWT_ALGORITHM,
     "eyJhbGciOiJIUzI1NiIsImtpZCI6InJzYS0xIn0.eyJzdWIiOiJhbGljZSIsImdyb3VwcyI6WyJzdGFm"
     "ZiIsInBybyJdLCJpc3MiOiJodHRwczovL2lkLmV4YW1wbGUiLCJhdWQiOiJldmVua2VlbCIsImlhdCI6"
     "MTgwMDAwMDAwMCwiZXhwIjoxODAwMDAzNjAwfQ.nExXWnznHu7G6bc7J2S1e1UgVJI9zmTx_lEeQY03f"
     "AQ"},
    {"HS256 with the public key as JWK", EK_JWT_ALGORITHM,
     "eyJhbGciOiJIUzI1NiIsImtpZCI6InJzYS0xIn0.eyJzdWIiOiJhbGljZSIsImdyb3VwcyI6WyJzdGFm"
     "ZiIsInBybyJdLCJpc3MiOiJodHRwczovL2lkLmV4YW1wbGUiLCJhdWQiOiJldmVua2VlbCIsImlhdCI6"
     "MTgwMDAwMDAwMCwiZXhwIjoxODAwMDAzNjAwfQ.d7FTxwcKY3DsSlq6X4BJsFc8E4pZOegGE17mBwC15"
     "ng"},
    {"HS256 with an empty secret", EK_JWT_ALGORITHM,
     "eyJhbGciOiJIUzI1NiIsImtpZCI6InJzYS0xIn0.eyJzdWIiOiJhbGljZSIsImdyb3VwcyI6WyJzdGFm"
     "ZiIsInBybyJdLCJpc3MiOiJodHRwczovL2lkLmV4YW1wbGUiLCJhdWQiOiJldmVua2VlbCIsImlhdCI6"
     "MTgwMDAwMDAwMCwiZXhwIjoxODAwMDAzNjAwfQ.8hH4JD6gIN_jrsOCFYbv51a5V1UuR4CkuDFpRtTqa"
     "Dw"},
    {"PS256", EK_JWT_ALGORITHM,
     "eyJhbGciOiJQUzI1NiIsImtpZCI6InJzYS0xIn0.eyJzdWIiOiJhbGljZSIsImdyb3VwcyI6WyJzdGFm"
     "ZiIsInBybyJdLCJpc3MiOiJodHRwczovL2lkLmV4YW1wbGUiLCJhdWQiOiJldmVua2VlbCIsImlhdCI6"
     "MTgwMDAwMDAwMCwiZXhwIjoxODAwMDAzNjAwfQ.I2OAZM6hSUkB8iRUvKNq_8pgcZecfjljwbKl8vHkS"
     "Wz7ef56mFIKYSx7NdzhrnxDnpbwuaDtO5TkRGwxIqo_M2c5L6klOjlxNzLrS0DioLnuln4-v80VyZcsm"
     "EfF7CjLxuVk0OavuAOY5J3rbQQ1V71d-7UV1XP3j0V1Q4kdwjWVR-0le7YMSVbS-Wy2MFx5t8U9O504X"
     "uaLY73mwanxED71fK3Qg7UXq2uliXhYl44ma_BE2GQV-6-eZf72rrqQnWZ09ZovBSCwEBAl1KcU6Z61e"
     "AJ2_20Gb5DTI7XITqLg6MEnN6hYoy8yn7OoMo_Mq4dXzW-xJqn8VwVSAiqjuA"},
    {"ES384", EK_JWT_ALGORITHM,
     "eyJhbGciOiJFUzM4NCIsImtpZCI6ImVjLTEifQ.eyJzdWIiOiJhbGljZSIsImdyb3VwcyI6WyJzdGFmZ"
     "iIsInBybyJdLCJpc3MiOiJodHRwczovL2lkLmV4YW1wbGUiLCJhdWQiOiJldmVua2VlbCIsImlhdCI6M"
     "TgwMDAwMDAwMCwiZXhwIjoxODAwMDAzNjAwfQ.ugTnU9XMYXgdoDLYjxx65Vu8CW-A9GIiK-QOhjT6Tf"
     "te1xh1RupFDbWICHMLjMe74ntc-jG5rKxvqe-Oq888uBhyPb_EDdqniicH-XP6dFp8owkSRR8aRpD8v4"
     "620fj0"},
    {"RS256 naming the EC key", EK_JWT_KEY,
     "eyJhbGciOiJSUzI1NiIsImtpZCI6ImVjLTEifQ.eyJzdWIiOiJhbGljZSIsImdyb3VwcyI6WyJzdGFmZ"
     "iIsInBybyJdLCJpYXQiOjE4MDAwMDAwMDAsImV4cCI6MTgwMDAwMzYwMCwiaXNzIjoiaHR0cHM6Ly9pZ"
     "C5leGFtcGxlIiwiYXVkIjoiZXZlbmtlZWwifQ.vT1qZgjWt9567QVo-67oHXf58zldmaywmSCKOAoFgy"
     "A5IaxYP9aBrvhNYU3KkV4_vECBIWpSqSvZHPYK3lHhZTOMkgWIEpR4zYJq4DO5NvQfFs9qGL_yErIX9p"
     "yvNCTmsZCYduffKDysTlxOcPpdlCX2hjPpAmETkjrhJbMX1FUOY7zh0UgDnTnuIuRyZ_YwS-Czs2aTbg"
     "0hE58hTCpjo3W3eIJD0yfIxE7ZYZbuew5fSi5icYVzxoCTdNuf2-vuQo2Wz7KQiVeIp181w_KNjPvUsA"
     "VPvhvofH2_QOdH3hBLslge3htZ12mdPhTaalt4G9oXcm2p76GMhcHcwWaz6g"},
    {"ES256 naming the RSA key", EK_JWT_KEY,
     "eyJhbGciOiJFUzI1NiIsImtpZCI6InJzYS0xIn0.eyJzdWIiOiJhbGljZSIsImdyb3VwcyI6WyJzdGFm"
     "ZiIsInBybyJdLCJpYXQiOjE4MDAwMDAwMDAsImV4cCI6MTgwMDAwMzYwMCwiaXNzIjoiaHR0cHM6Ly9p"
     "ZC5leGFtcGxlIiwiYXVkIjoiZXZlbmtlZWwifQ.vT1qZgjWt9567QVo-67oHXf58zldmaywmSCKOAoFg"
     "yA5IaxYP9aBrvhNYU3KkV4_vECBIWpSqSvZHPYK3lHhZTOMkgWIEpR4zYJq4DO5NvQfFs9qGL_yErIX9"
     "pyvNCTmsZCYduffKDysTlxOcPpdlCX2hjPpAmETkjrhJbMX1FUOY7zh0UgDnTnuIuRyZ_YwS-Czs2aTb"
     "g0hE58hTCpjo3W3eIJD0yfIxE7ZYZbuew5fSi5icYVzxoCTdNuf2-vuQo2Wz7KQiVeIp181w_KNjPvUs"
     "AVPvhvofH2_QOdH3hBLslge3htZ12mdPhTaalt4G9oXcm2p76GMhcHcwWaz6g"},
    {"unknown kid", EK_JWT_KEY,
     "eyJhbGciOiJSUzI1NiIsImtpZCI6InJzYS0yIn0.eyJzdWIiOiJhbGljZSIsImdyb3VwcyI6WyJzdGFm"
     "ZiIsInBybyJdLCJpYXQiOjE4MDAwMDAwMDAsImV4cCI6MTgwMDAwMzYwMCwiaXNzIjoiaHR0cHM6Ly9p"
     "ZC5leGFtcGxlIiwiYXVkIjoiZXZlbmtlZWwifQ.aKDRtN4SgBxWi4DNx_eWssIx4k9wXVZ8_lVsd_ZMX"
     "HSlvqxA661CeqKyCvLIQ-_Fu-jgQkA9pJlXd8xP7wwBnBsgLPcgkHSTCSpBEUFcZBaAPsfqcTumEspQ1"
     "75ErgH3XdHPjyhlBLCcRdRrxSIfqpJncvTVpE2KiDFFEjZinc8wSNEKRp-7spf970AMg6sXsVU-geYrL"
     "OoPROX4TAiukRHLSFLshphjqLQ0_S0AaVKYdEiTnZbmPet4gyNHRp-Pc6wm17dVRc7LjrY3mpsn_z_6-"
     "nu9bjgoxsncKGA5dN696S-mQe4EZSxppnN_57TBPim4G_gxGCFdDV2PhXeYbQ"},
    {"kid of a path", EK_JWT_KEY,
     "eyJhbGciOiJSUzI1NiIsImtpZCI6Ii4uLy4uLy4uLy4uL2Rldi9udWxsIn0.eyJzdWIiOiJhbGljZSIs"
     "Imdyb3VwcyI6WyJzdGFmZiIsInBybyJdLCJpYXQiOjE4MDAwMDAwMDAsImV4cCI6MTgwMDAwMzYwMCwi"
     "aXNzIjoiaHR0cHM6Ly9pZC5leGFtcGxlIiwiYXVkIjoiZXZlbmtlZWwifQ.lep2s2lDvPP8013-PVEo2"
     "D-aNVUEjUq2CM8fGGMwksomwFDUEMfE2c3q_OZnGVpig0aAEE7qijCbwq0B6kLbAOX8xaDyoTZNOS670"
     "fg65-OtahM23JnTVQdMBC8cPEYUNeRhOEStGiHJOhLKJBlE2PEhDWzzzZTFAqdSrbAKYObo_kPzUAKOb"
     "Emz2lD6UujlKDR23du4praG0ZL2SsytgYcF65Zju-FncHrYQtLaxLQJbQAaQ93pKOulDA6OiWjSM2Lyr"
     "ZWPQqjysjyix8AO6g16O-la8sJ7rGkmT6Pkiji1GIdC81ud3aDkptyV5VbhecKdziBJKJUYjStnWw377"
     "Q"},
    {"kid of SQL", EK_JWT_KEY,
     "eyJhbGciOiJSUzI1NiIsImtpZCI6IngnIFVOSU9OIFNFTEVDVCAnayJ9.eyJzdWIiOiJhbGljZSIsImd"
     "yb3VwcyI6WyJzdGFmZiIsInBybyJdLCJpYXQiOjE4MDAwMDAwMDAsImV4cCI6MTgwMDAwMzYwMCwiaXN"
     "zIjoiaHR0cHM6Ly9pZC5leGFtcGxlIiwiYXVkIjoiZXZlbmtlZWwifQ.YRvaygy0nDUVNzpCPEKj47Ob"
     "qCuu5sf1jasxtSuAcP93km28mLqq7VQExoqzC4Mxt30XSfqv5YhQyUEWw9q9wQr3TIxh7ajyxZoUOheO"
     "IckqIsHDWOZYCtB9Ja17gyJGLZWv8Sg6804LADjR6oUJyRz8zaNyRwoRwRkliLJ7Lf2ugKTWa0UT1_FO"
     "Y8EwdVHsA2quaiJX80hZtpg5y0J2pxBsvZy7gMDz1gZ-5Dv-9gwaZbc_FTXvhNOJjqJyppL5cu03IM5J"
     "h34kULGIHTw4NMLX-HTy91eCpBlsZ5UauaPx5PdUUCi5a1zZ3KHlNn5cQPdphQZENhJ-b5cEQqsx3Q"},
    {"kid a URL", EK_JWT_KEY,
     "eyJhbGciOiJSUzI1NiIsImtpZCI6Imh0dHBzOi8vZXZpbC5leGFtcGxlL2p3a3MuanNvbiJ9.eyJzdWI"
     "iOiJhbGljZSIsImdyb3VwcyI6WyJzdGFmZiIsInBybyJdLCJpYXQiOjE4MDAwMDAwMDAsImV4cCI6MTg"
     "wMDAwMzYwMCwiaXNzIjoiaHR0cHM6Ly9pZC5leGFtcGxlIiwiYXVkIjoiZXZlbmtlZWwifQ.TV6tuUru"
     "PHYu-BoIZ82PNcksf8t3_gna4dS4vy7A8As8xoFy4KQXWaD6PrHzGFwJmSsGi4X9WRtI6CSDnJfrgdrc"
     "y0OoE-WLA_aZ5CLlUh6h_AeTjy2-i0Kecbfk8xOcmk_8W7NmfcAv61-vnkY2Mj9PQ-ALJFQm5jUziquy"
     "piA4b7I4v-AL8J_8bzY1O93Xgd8a-031bG8sTu2lm6glnZSv_fLtQ2sGWbbO87OzRVlhCNv6MoBB41Jo"
     "-iBJS5Gv2fMDDxXL0lYcrjWOg2vny8o3sfjZ6F781cmo6_2a0ivOsNYeyfNv3mh_el6V6y5OKLUMdKdR"
     "3wWxFFxvWYZcbw"},
    {"kid empty", EK_JWT_KEY,
     "eyJhbGciOiJSUzI1NiIsImtpZCI6IiJ9.eyJzdWIiOiJhbGljZSIsImdyb3VwcyI6WyJzdGFmZiIsInB"
     "ybyJdLCJpYXQiOjE4MDAwMDAwMDAsImV4cCI6MTgwMDAwMzYwMCwiaXNzIjoiaHR0cHM6Ly9pZC5leGF"
     "tcGxlIiwiYXVkIjoiZXZlbmtlZWwifQ.rxWju4aAcSv0GpIekcZXl8Agk_8TXeK3cv41FvqaEKHUG3nB"
     "EeV0yrGeOJjvmgW9isVor1si-SqNkb-NVA2tB168jCsWH-QSb0RS9HAejIZFDvL5c0r8YZYYCpyovOik"
     "fMOin0WeFEnrtk7l8wO3sBFrJYq2FQpvjevRbCmvcVIFr4kjgBJhpVIXcIXUAZO2EdyY_Mb0393QvwYP"
     "KlifDTX7608Iqbaa84iCHiTbEd2j_73G_K2MmWg2O23VQsWaeU3LGRSoCGlAZ9rscm7D3rtB1smoxyHt"
     "E0w0r5Nus7ST3D6Eu3OQgxTYwvJZjGzuV2vqpuo9dF6w8aw-1-IRTw"},
    {"kid a list", EK_JWT_FORM,
     "eyJhbGciOiJSUzI1NiIsImtpZCI6WyJyc2EtMSJdfQ.eyJzdWIiOiJhbGljZSIsImdyb3VwcyI6WyJzd"
     "GFmZiIsInBybyJdLCJpYXQiOjE4MDAwMDAwMDAsImV4cCI6MTgwMDAwMzYwMCwiaXNzIjoiaHR0cHM6L"
     "y9pZC5leGFtcGxlIiwiYXVkIjoiZXZlbmtlZWwifQ.vT1qZgjWt9567QVo-67oHXf58zldmaywmSCKOA"
     "oFgyA5IaxYP9aBrvhNYU3KkV4_vECBIWpSqSvZHPYK3lHhZTOMkgWIEpR4zYJq4DO5NvQfFs9qGL_yEr"
     "IX9pyvNCTmsZCYduffKDysTlxOcPpdlCX2hjPpAmETkjrhJbMX1FUOY7zh0UgDnTnuIuRyZ_YwS-Czs2"
     "aTbg0hE58hTCpjo3W3eIJD0yfIxE7ZYZbuew5fSi5icYVzxoCTdNuf2-vuQo2Wz7KQiVeIp181w_KNjP"
     "vUsAVPvhvofH2_QOdH3hBLslge3htZ12mdPhTaalt4G9oXcm2p76GMhcHcwWaz6g"},
    {"kid with a NUL", EK_JWT_FORM,
     "eyJhbGciOiJSUzI1NiIsImtpZCI6InJzYS0xXHUwMDAweCJ9.eyJzdWIiOiJhbGljZSIsImdyb3VwcyI"
     "6WyJzdGFmZiIsInBybyJdLCJpYXQiOjE4MDAwMDAwMDAsImV4cCI6MTgwMDAwMzYwMCwiaXNzIjoiaHR"
     "0cHM6Ly9pZC5leGFtcGxlIiwiYXVkIjoiZXZlbmtlZWwifQ.vT1qZgjWt9567QVo-67oHXf58zldmayw"
     "mSCKOAoFgyA5IaxYP9aBrvhNYU3KkV4_vECBIWpSqSvZHPYK3lHhZTOMkgWIEpR4zYJq4DO5NvQfFs9q"
     "GL_yErIX9pyvNCTmsZCYduffKDysTlxOcPpdlCX2hjPpAmETkjrhJbMX1FUOY7zh0UgDnTnuIuRyZ_Yw"
     "S-Czs2aTbg0hE58hTCpjo3W3eIJD0yfIxE7ZYZbuew5fSi5icYVzxoCTdNuf2-vuQo2Wz7KQiVeIp181"
     "w_KNjPvUsAVPvhvofH2_QOdH3hBLslge3htZ12mdPhTaalt4G9oXcm2p76GMhcHcwWaz6g"},
    {"another key, its own kid in jwk", EK_JWT_SIGNATURE,
     "eyJhbGciOiJSUzI1NiIsImtpZCI6InJzYS0xIiwiandrIjp7Imt0eSI6IlJTQSIsIm4iOiJ4MHpsTGxq"
     "ODRyMU9CNzV3ZjlVeG9mLWU1V2dKS215QlBBUWtPcUROWjdDV3ZPZy02NC1RRXo4bXlNTWxTRDd4MFFY"
     "X1p2TU9YU1lCTzVzUEpoeFdFSC0zUGNEODVFWHA0R0pJa3RDVFhoa1NFQ3YzQ0ZhX3BpREptMDNIT1dG"
     "anlOd041UWdBbHdlS3ZhaEV6YklWaUdjQ3RkX3EwZjQ1NEpPR0tEY3JZREJtZTktTEhpN0RCSHUxVzZq"
     "ZTNEck9VeTF5X0lFNlNiZ1BqeVFUcXdKUXVmazVtYVJZamFqSnNhc1RMaXRKNmFydUdEX0NOUUloUjN5"
     "RE8wZW10Vjh4ZHE5MzdNU2tEZjdaR3hvMUFENFlBRjNraVVKRjFiMzk1TzBiNFNJeU9QRFoyaU1naVJF"
     "MUJSTEdzYWZRdk5TNXNZWl9PdDdlQWJFTTNYcFcycDlDRnciLCJlIjoiQVFBQiJ9fQ.eyJzdWIiOiJhb"
     "GljZSIsImdyb3VwcyI6WyJzdGFmZiIsInBybyJdLCJpYXQiOjE4MDAwMDAwMDAsImV4cCI6MTgwMDAwM"
     "zYwMCwiaXNzIjoiaHR0cHM6Ly9pZC5leGFtcGxlIiwiYXVkIjoiZXZlbmtlZWwifQ.mrzamnNaMvioOY"
     "6gEuISynSLlbsBiPnT7OsM0A4e9xGpcust4hwiyS6knCbbcUgR2ZIDUXj3iLfEU7Ren_gN-vMiXEPMsK"
     "47chmhgoIB4vIFTJY6FmKlwA7awp6dvFgdLMuvU0K9KZGiqPePH6jGft8JjhUrQARpdjfigq_HKe2AZ3"
     "prSM8pKUtQOpv_NG0JD3w4l5sZBRVWYZxQSWNwT0TRatRiJGfrXUAB5yiRTZ04MVa5kyX4turZtehRJr"
     "jewyXZiYwND8xDJ9v27CbkuU_Eioe6EBTgdFQPZAvMXZ9mmHGLbwqTY5IWBHRjS0wPZEJ0JNaVa344Mx"
     "BiIhR4yw"},
    {"another key, jku", EK_JWT_SIGNATURE,
     "eyJhbGciOiJSUzI1NiIsImtpZCI6InJzYS0xIiwiamt1IjoiaHR0cHM6Ly9ldmlsLmV4YW1wbGUvIn0."
     "eyJzdWIiOiJhbGljZSIsImdyb3VwcyI6WyJzdGFmZiIsInBybyJdLCJpYXQiOjE4MDAwMDAwMDAsImV4"
     "cCI6MTgwMDAwMzYwMCwiaXNzIjoiaHR0cHM6Ly9pZC5leGFtcGxlIiwiYXVkIjoiZXZlbmtlZWwifQ.I"
     "BKcytLadhE54Ek5fRa1fy0o0UTBZbjJkOC6XKvIT7u11m32UWWFndhbtOCga_pe8nxUpOKCcNH4_3Rxc"
     "TXcO2-ygTK0y_nuk7ZV0fD3sfLcF7TPfh9NuF78EZeiq7x96CMNT2S_hM6G-jXZgclwXs7-OnTYrdfHs"
     "4MUDlrCaxWdZHGO9Bpf7oigNfXLNunbm63ZQ2xR8aUviOPpdrgpEyrrH3ODOO9m5LVXykuFIaW38MdGf"
     "fF7DpQEtmGeLIStPkTRD5gAwqG0bk9CjKjd7XIzr1WLX9GIqsq69JCdiJ3EUOVNH5haM38Z_kc9t5pKl"
     "rPUdSvBG3mqhyS-nMbGsw"},
    {"crit", EK_JWT_CRITICAL,
     "eyJhbGciOiJSUzI1NiIsImtpZCI6InJzYS0xIiwiY3JpdCI6WyJiNjQiXSwiYjY0IjpmYWxzZX0.eyJz"
     "dWIiOiJhbGljZSIsImdyb3VwcyI6WyJzdGFmZiIsInBybyJdLCJpYXQiOjE4MDAwMDAwMDAsImV4cCI6"
     "MTgwMDAwMzYwMCwiaXNzIjoiaHR0cHM6Ly9pZC5leGFtcGxlIiwiYXVkIjoiZXZlbmtlZWwifQ.vT1qZ"
     "gjWt9567QVo-67oHXf58zldmaywmSCKOAoFgyA5IaxYP9aBrvhNYU3KkV4_vECBIWpSqSvZHPYK3lHhZ"
     "TOMkgWIEpR4zYJq4DO5NvQfFs9qGL_yErIX9pyvNCTmsZCYduffKDysTlxOcPpdlCX2hjPpAmETkjrhJ"
     "bMX1FUOY7zh0UgDnTnuIuRyZ_YwS-Czs2aTbg0hE58hTCpjo3W3eIJD0yfIxE7ZYZbuew5fSi5icYVzx"
     "oCTdNuf2-vuQo2Wz7KQiVeIp181w_KNjPvUsAVPvhvofH2_QOdH3hBLslge3htZ12mdPhTaalt4G9oXc"
     "m2p76GMhcHcwWaz6g"},
    {"typ of another kind", EK_JWT_TYPE,
     "eyJhbGciOiJSUzI1NiIsImtpZCI6InJzYS0xIiwidHlwIjoibG9nb3V0K2p3dCJ9.eyJzdWIiOiJhbGl"
     "jZSIsImdyb3VwcyI6WyJzdGFmZiIsInBybyJdLCJpYXQiOjE4MDAwMDAwMDAsImV4cCI6MTgwMDAwMzY"
     "wMCwiaXNzIjoiaHR0cHM6Ly9pZC5leGFtcGxlIiwiYXVkIjoiZXZlbmtlZWwifQ.WHUVzzyTDAPnbuVv"
     "SZo24BL1KKZd-LY1JKAPUzqO4pB8YauOnMAWpDVDPi5uCHQw2RDsr4E8ITYpQR8OISQvqKZuyoIWJ32X"
     "EC1eZLT0QSII_peNXJXbW8JWV5slKZfpvb1vRzFu8H1W8UVKnb6jgLAAHHLzoI0qYw_GQn3eD00fT3N1"
     "PfpcGswIBbypMi8DjgoEPw6uuFu3dpDjpy1GqoC7M_B51A9OyUFPllCl2Ce-73IEjKWaDLZsd-LsOD7q"
     "RcONOBcao1ehzH1KsTE1KYG9FO_5AzSXAniH9mtJnvuCV-5rzen1mdxR14sq8fX3Jn9J569liY1iWQqI"
     "MFAMuw"},
    {"payload changed", EK_JWT_SIGNATURE,
     "eyJhbGciOiJSUzI1NiIsImtpZCI6InJzYS0xIn0.eyJzdWIiOiJtYWxsb3J5IiwiZ3JvdXBzIjpbInN0"
     "YWZmIiwicHJvIl0sImlzcyI6Imh0dHBzOi8vaWQuZXhhbXBsZSIsImF1ZCI6ImV2ZW5rZWVsIiwiaWF0"
     "IjoxODAwMDAwMDAwLCJleHAiOjE4MDAwMDM2MDB9.vT1qZgjWt9567QVo-67oHXf58zldmaywmSCKOAo"
     "FgyA5IaxYP9aBrvhNYU3KkV4_vECBIWpSqSvZHPYK3lHhZTOMkgWIEpR4zYJq4DO5NvQfFs9qGL_yErI"
     "X9pyvNCTmsZCYduffKDysTlxOcPpdlCX2hjPpAmETkjrhJbMX1FUOY7zh0UgDnTnuIuRyZ_YwS-Czs2a"
     "Tbg0hE58hTCpjo3W3eIJD0yfIxE7ZYZbuew5fSi5icYVzxoCTdNuf2-vuQo2Wz7KQiVeIp181w_KNjPv"
     "UsAVPvhvofH2_QOdH3hBLslge3htZ12mdPhTaalt4G9oXcm2p76GMhcHcwWaz6g"},
    {"signature cut", EK_JWT_SIGNATURE,
     "eyJhbGciOiJSUzI1NiIsImtpZCI6InJzYS0xIn0.eyJzdWIiOiJhbGljZSIsImdyb3VwcyI6WyJzdGFm"
     "ZiIsInBybyJdLCJpYXQiOjE4MDAwMDAwMDAsImV4cCI6MTgwMDAwMzYwMCwiaXNzIjoiaHR0cHM6Ly9p"
     "ZC5leGFtcGxlIiwiYXVkIjoiZXZlbmtlZWwifQ.vT1qZgjWt9567QVo-67oHXf58zldmaywmSCKOAoFg"
     "yA5IaxYP9aBrvhNYU3KkV4_vECBIWpSqSvZHPYK3lHhZTOMkgWIEpR4zYJq4DO5NvQfFs9qGL_yErIX9"
     "pyvNCTmsZCYduffKDysTlxOcPpdlCX2hjPpAmETkjrhJbMX1FUOY7zh0UgDnTnuIuRyZ_YwS-Czs2aTb"
     "g0hE58hTCpjo3W3eIJD0yfIxE7ZYZbuew5fSi5icYVzxoCTdNuf2-vuQo2Wz7KQiVeIp181w_KNjPvUs"
     "AVPvhvofH2_QOdH3hBLslge3htZ12mdPhTaalt4G9oXcm2p76GMhcHcwW"},
    {"signature of zeros", EK_JWT_SIGNATURE,
     "eyJhbGciOiJFUzI1NiIsImtpZCI6ImVjLTEifQ.eyJzdWIiOiJhbGljZSIsImdyb3VwcyI6WyJzdGFmZ"
     "iIsInBybyJdLCJpYXQiOjE4MDAwMDAwMDAsImV4cCI6MTgwMDAwMzYwMCwiaXNzIjoiaHR0cHM6Ly9pZ"
     "C5leGFtcGxlIiwiYXVkIjoiZXZlbmtlZWwifQ.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
     "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"},
    {"signature in ASN.1", EK_JWT_SIGNATURE,
     "eyJhbGciOiJFUzI1NiIsImtpZCI6ImVjLTEifQ.eyJzdWIiOiJhbGljZSIsImdyb3VwcyI6WyJzdGFmZ"
     "iIsInBybyJdLCJpYXQiOjE4MDAwMDAwMDAsImV4cCI6MTgwMDAwMzYwMCwiaXNzIjoiaHR0cHM6Ly9pZ"
     "C5leGFtcGxlIiwiYXVkIjoiZXZlbmtlZWwifQ.MAYCAQECAQE"},
    {"signature not canonical", EK_JWT_SIGNATURE,
     "eyJhbGciOiJSUzI1NiIsImtpZCI6InJzYS0xIn0.eyJzdWIiOiJhbGljZSIsImdyb3VwcyI6WyJzdGFm"
     "ZiIsInBybyJdLCJpYXQiOjE4MDAwMDAwMDAsImV4cCI6MTgwMDAwMzYwMCwiaXNzIjoiaHR0cHM6Ly9p"
     "ZC5leGFtcGxlIiwiYXVkIjoiZXZlbmtlZWwifQ.vT1qZgjWt9567QVo-67oHXf58zldmaywmSCKOAoFg"
     "yA5IaxYP9aBrvhNYU3KkV4_vECBIWpSqSvZHPYK3lHhZTOMkgWIEpR4zYJq4DO5NvQfFs9qGL_yErIX9"
     "pyvNCTmsZCYduffKDysTlxOcPpdlCX2hjPpAmETkjrhJbMX1FUOY7zh0UgDnTnuIuRyZ_YwS-Czs2aTb"
     "g0hE58hTCpjo3W3eIJD0yfIxE7ZYZbuew5fSi5icYVzxoCTdNuf2-vuQo2Wz7KQiVeIp181w_KNjPvUs"
     "AVPvhvofH2_QOdH3hBLslge3htZ12mdPhTaalt4G9oXcm2p76GMhcHcwWaz6h"},
    {"padding", EK_JWT_SIGNATURE,
     "eyJhbGciOiJSUzI1NiIsImtpZCI6InJzYS0xIn0.eyJzdWIiOiJhbGljZSIsImdyb3VwcyI6WyJzdGFm"
     "ZiIsInBybyJdLCJpYXQiOjE4MDAwMDAwMDAsImV4cCI6MTgwMDAwMzYwMCwiaXNzIjoiaHR0cHM6Ly9p"
     "ZC5leGFtcGxlIiwiYXVkIjoiZXZlbmtlZWwifQ.vT1qZgjWt9567QVo-67oHXf58zldmaywmSCKOAoFg"
     "yA5IaxYP9aBrvhNYU3KkV4_vECBIWpSqSvZHPYK3lHhZTOMkgWIEpR4zYJq4DO5NvQfFs9qGL_yErIX9"
     "pyvNCTmsZCYduffKDysTlxOcPpdlCX2hjPpAmETkjrhJbMX1FUOY7zh0UgDnTnuIuRyZ_YwS-Czs2aTb"
     "g0hE58hTCpjo3W3eIJD0yfIxE7ZYZbuew5fSi5icYVzxoCTdNuf2-vuQo2Wz7KQiVeIp181w_KNjPvUs"
     "AVPvhvofH2_QOdH3hBLslge3htZ12mdPhTaalt4G9oXcm2p76GMhcHcwWaz6g=="},
    {"alg twice", EK_JWT_FORM,
     "eyJhbGciOiJub25lIiwiYWxnIjoiUlMyNTYiLCJraWQiOiJyc2EtMSJ9.eyJzdWIiOiJhbGljZSIsImd"
     "yb3VwcyI6WyJzdGFmZiIsInBybyJdLCJpYXQiOjE4MDAwMDAwMDAsImV4cCI6MTgwMDAwMzYwMCwiaXN"
     "zIjoiaHR0cHM6Ly9pZC5leGFtcGxlIiwiYXVkIjoiZXZlbmtlZWwifQ.vT1qZgjWt9567QVo-67oHXf5"
     "8zldmaywmSCKOAoFgyA5IaxYP9aBrvhNYU3KkV4_vECBIWpSqSvZHPYK3lHhZTOMkgWIEpR4zYJq4DO5"
     "NvQfFs9qGL_yErIX9pyvNCTmsZCYduffKDysTlxOcPpdlCX2hjPpAmETkjrhJbMX1FUOY7zh0UgDnTnu"
     "IuRyZ_YwS-Czs2aTbg0hE58hTCpjo3W3eIJD0yfIxE7ZYZbuew5fSi5icYVzxoCTdNuf2-vuQo2Wz7KQ"
     "iVeIp181w_KNjPvUsAVPvhvofH2_QOdH3hBLslge3htZ12mdPhTaalt4G9oXcm2p76GMhcHcwWaz6g"},
    {"sub twice", EK_JWT_FORM,
     "eyJhbGciOiJFZERTQSIsImtpZCI6ImVkLTEifQ.eyJzdWIiOiJhIiwiaXNzIjoiaHR0cHM6Ly9pZC5le"
     "GFtcGxlIiwiYXVkIjoiZXZlbmtlZWwiLCJleHAiOjE4MDAwMDM2MDAsInN1YiI6ImIifQ.REOQkGq_tv"
     "82VmWJL5Vdghqs5UJTXCHb-P2EOvQcflo9I7pf2O3_78p3tUClQw0MJY-L5Zk72PQ17RzRjpbvCA"},
    {"payload a list", EK_JWT_FORM,
     "eyJhbGciOiJFZERTQSIsImtpZCI6ImVkLTEifQ.WzFd.iEUP2Y7YkltPN91PNguu-pqZ-cNc2p4Y12R7"
     "5jlUVGYJgxxxIrpRiwa5_WpKjb69T0_jVl4eHsVLZlU2VXlfAw"},
    {"another issuer", EK_JWT_ISSUER,
     "eyJhbGciOiJFUzI1NiIsImtpZCI6ImVjLTEifQ.eyJzdWIiOiJhbGljZSIsImdyb3VwcyI6WyJzdGFmZ"
     "iIsInBybyJdLCJpc3MiOiJodHRwczovL2lkLmV4YW1wbGUvIiwiaWF0IjoxODAwMDAwMDAwLCJleHAiO"
     "jE4MDAwMDM2MDAsImF1ZCI6ImV2ZW5rZWVsIn0.Ft04-1Ohftbd9QkqU3rkjKqR4vBwcTqx1khS-zy-K"
     "ru7je-5XSjo2UiSb_ZZvbXQ6NRRoTPCToA_IB9-WhhwaA"},
    {"another audience", EK_JWT_AUDIENCE,
     "eyJhbGciOiJFUzI1NiIsImtpZCI6ImVjLTEifQ.eyJzdWIiOiJhbGljZSIsImdyb3VwcyI6WyJzdGFmZ"
     "iIsInBybyJdLCJhdWQiOiJzb21lb25lLWVsc2UiLCJpYXQiOjE4MDAwMDAwMDAsImV4cCI6MTgwMDAwM"
     "zYwMCwiaXNzIjoiaHR0cHM6Ly9pZC5leGFtcGxlIn0.EQmQrSkvZs7DE2vC7gvVIk24yFE1Y5COI05S5"
     "yVrIq-YSSg9A5SjHTlLsZmRdtkpwIxkuz-9dT9PMFIDcxkPlQ"},
    {"no audience in the list", EK_JWT_AUDIENCE,
     "eyJhbGciOiJFUzI1NiIsImtpZCI6ImVjLTEifQ.eyJzdWIiOiJhbGljZSIsImdyb3VwcyI6WyJzdGFmZ"
     "iIsInBybyJdLCJhdWQiOlsiYSIsImIiXSwiaWF0IjoxODAwMDAwMDAwLCJleHAiOjE4MDAwMDM2MDAsI"
     "mlzcyI6Imh0dHBzOi8vaWQuZXhhbXBsZSJ9.obJAzM1abHBcsQBdXqXH2LTwv_jZaL6ja-MWpCr9z15d"
     "r5xhmS2oV8zJ4I6ExqynugPGUn0HDifZOFaYQll4Mw"},
    {"expired", EK_JWT_EXPIRED,
     "eyJhbGciOiJFUzI1NiIsImtpZCI6ImVjLTEifQ.eyJzdWIiOiJhbGljZSIsImdyb3VwcyI6WyJzdGFmZ"
     "iIsInBybyJdLCJpYXQiOjE3OTk5OTI4MDAsImV4cCI6MTc5OTk5NjQwMCwiaXNzIjoiaHR0cHM6Ly9pZ"
     "C5leGFtcGxlIiwiYXVkIjoiZXZlbmtlZWwifQ.7lzslZZjSyHt_FiZHRwM9iye8zAeB3b7HrvW8B317w"
     "7Qt2rgDlrRHj9fM5QKN0lXZpAj9M8KURnb_Z__SaFkJw"},
    {"not yet", EK_JWT_NOT_YET,
     "eyJhbGciOiJFUzI1NiIsImtpZCI6ImVjLTEifQ.eyJzdWIiOiJhbGljZSIsImdyb3VwcyI6WyJzdGFmZ"
     "iIsInBybyJdLCJuYmYiOjE4MDAwMDMwMDAsImlhdCI6MTgwMDAwMDAwMCwiZXhwIjoxODAwMDAzNjAwL"
     "CJpc3MiOiJodHRwczovL2lkLmV4YW1wbGUiLCJhdWQiOiJldmVua2VlbCJ9.hdTh2MxaqLx_uOLQD3bj"
     "LZBVMI3mJuU7EbukCGzTfFAjXQsyHil4phAusIFWSVRvrD97_wLFooE2_Lz7qIRJpA"},
    {"issued tomorrow", EK_JWT_NOT_YET,
     "eyJhbGciOiJFUzI1NiIsImtpZCI6ImVjLTEifQ.eyJzdWIiOiJhbGljZSIsImdyb3VwcyI6WyJzdGFmZ"
     "iIsInBybyJdLCJpYXQiOjE4MDAwODY0MDAsImV4cCI6MTgwMDA5MDAwMCwiaXNzIjoiaHR0cHM6Ly9pZ"
     "C5leGFtcGxlIiwiYXVkIjoiZXZlbmtlZWwifQ.A_RF1pEgnWx76NxS9U-_skf0bXarDvfjj8RLx0gP4W"
     "gQz0DCvrbEXXT8udJoA9w8ih8wgG0C5wFu7D-drqEMTw"},
    {"no end", EK_JWT_CLAIM,
     "eyJhbGciOiJFZERTQSIsImtpZCI6ImVkLTEifQ.eyJzdWIiOiJhbGljZSIsImdyb3VwcyI6WyJzdGFmZ"
     "iIsInBybyJdLCJpc3MiOiJodHRwczovL2lkLmV4YW1wbGUiLCJhdWQiOiJldmVua2VlbCJ9.05VO82xv"
     "MvHw2ZzXF9s5Eq6yBVQhYkTowRsZsX3zQko3qfTki6fbp9zWfyxOln35MIMsXODVXB-DlyGqnxE5Aw"},
    {"exp a string", EK_JWT_CLAIM,
     "eyJhbGciOiJFZERTQSIsImtpZCI6ImVkLTEifQ.eyJzdWIiOiJhbGljZSIsImdyb3VwcyI6WyJzdGFmZ"
     "iIsInBybyJdLCJpc3MiOiJodHRwczovL2lkLmV4YW1wbGUiLCJhdWQiOiJldmVua2VlbCIsImlhdCI6M"
     "TgwMDAwMDAwMCwiZXhwIjoiMTgwMDAwMzYwMCJ9.X2DrwxIdygWHc1GRmXoZeoBUNTlXu7DSe1tK-DqL"
     "N0ZUh6QJzegqmECUQ73ClrHaqZR8yMZDKbnUylYnXFQvCA"},
    {"exp negative", EK_JWT_CLAIM,
     "eyJhbGciOiJFZERTQSIsImtpZCI6ImVkLTEifQ.eyJzdWIiOiJhbGljZSIsImdyb3VwcyI6WyJzdGFmZ"
     "iIsInBybyJdLCJpc3MiOiJodHRwczovL2lkLmV4YW1wbGUiLCJhdWQiOiJldmVua2VlbCIsImlhdCI6M"
     "TgwMDAwMDAwMCwiZXhwIjotMX0.lmOogX1x0nQsm9US5UfbckkfkvBs3FLl28X2mut4ziZyBNdgZXnjr"
     "nmLR8koF360b86k2rrNyLzfRJMjrRQ4CA"},
    {"sub with a line break", EK_JWT_CLAIM,
     "eyJhbGciOiJFZERTQSIsImtpZCI6ImVkLTEifQ.eyJzdWIiOiJhXG5iIiwiZ3JvdXBzIjpbInN0YWZmI"
     "iwicHJvIl0sImlhdCI6MTgwMDAwMDAwMCwiZXhwIjoxODAwMDAzNjAwLCJpc3MiOiJodHRwczovL2lkL"
     "mV4YW1wbGUiLCJhdWQiOiJldmVua2VlbCJ9.cua5YNgghE5L8Pjb88qqD70XDXChe6N1cxDSPirKLPmb"
     "UqXlwfOnnqXouke6-VT5Jeu7jHshSrE_yVFo09tQCQ"},
    {"sub empty", EK_JWT_CLAIM,
     "eyJhbGciOiJFZERTQSIsImtpZCI6ImVkLTEifQ.eyJzdWIiOiIiLCJncm91cHMiOlsic3RhZmYiLCJwc"
     "m8iXSwiaWF0IjoxODAwMDAwMDAwLCJleHAiOjE4MDAwMDM2MDAsImlzcyI6Imh0dHBzOi8vaWQuZXhhb"
     "XBsZSIsImF1ZCI6ImV2ZW5rZWVsIn0.oJUTKzGNMInKjREgu4m6a0fNb2cOBLZv7L5viAIfJJBSdFMsp"
     "9L9OmNpGCGOMRXuYFu1KYrttU__ls6kqf33CA"},
    {"sub a number", EK_JWT_CLAIM,
     "eyJhbGciOiJFZERTQSIsImtpZCI6ImVkLTEifQ.eyJzdWIiOjcsImdyb3VwcyI6WyJzdGFmZiIsInByb"
     "yJdLCJpc3MiOiJodHRwczovL2lkLmV4YW1wbGUiLCJhdWQiOiJldmVua2VlbCIsImlhdCI6MTgwMDAwM"
     "DAwMCwiZXhwIjoxODAwMDAzNjAwfQ.JjpxJKmqBtjzLFKoQMPygJc3KlF0mWL31W3UKuX3HMisgydk_1"
     "2NDNHuWtYC4rGSJNJecHUgmmN_zC4O_3niAw"},
    {"sub too long", EK_JWT_CLAIM,
     "eyJhbGciOiJFZERTQSIsImtpZCI6ImVkLTEifQ.eyJzdWIiOiJ4eHh4eHh4eHh4eHh4eHh4eHh4eHh4e"
     "Hh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4e"
     "Hh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4e"
     "Hh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4e"
     "Hh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eCIsImdyb"
     "3VwcyI6WyJzdGFmZiIsInBybyJdLCJpYXQiOjE4MDAwMDAwMDAsImV4cCI6MTgwMDAwMzYwMCwiaXNzI"
     "joiaHR0cHM6Ly9pZC5leGFtcGxlIiwiYXVkIjoiZXZlbmtlZWwifQ.L39I52Si3twVGd6kOUMAgCTL5I"
     "TJWiAZ6pFMSiTUcpe-sBENvOZrxQnPeOKgKNeodFD7J2EFYPqG_mDWahSIDw"},
};

#endif

# SPDX-License-Identifier: MIT
"""Small talk, and the honest refusals: what the model says when it is asked for anything but sums.

Each intent has a list of wordings, one short thought and one answer, in both languages. Questions
out of reach come from templates filled with everyday topics, and sometimes with made-up words, so
that the model learns to say "I can only ..." to whatever it does not know.
"""
import re

import days
import hostile
from again import SAY as FOLLOW
from sums import Asked

SAY = {
    "greet": {
        "en": ["Hello", "Hello!", "Hi", "Hi!", "Hi there", "Hi there!", "Hey", "Hey!", "Hello there!",
               "Good morning", "Good morning!",
               "Good evening!", "Good afternoon.", "Hello, how are you?", "How are you?",
               "How are you today?", "Hi, how are you doing?",
               "What's up?", "Nice to meet you.", "Greetings!", "Hello, are you there?",
               "Anyone there?", "test", "Test", "ping",
               "Hello, model!", "Hello Evenkeel", "Hi Evenkeel!", "Good day!", "How is it going?"],
        "zh": ["你好", "你好！", "您好", "您好！", "嗨", "早上好", "早上好！", "晚上好！", "下午好", "你好吗？", "你好，你怎么样？", "在吗？",
               "在吗",
               "有人吗？", "很高兴认识你", "大家好", "你好啊", "哈喽", "测试", "早安", "今天过得怎么样？", "你好，Evenkeel"]},
    "thanks": {
        "en": ["Thanks", "Thanks!", "Thank you", "Thank you!", "Thank you very much!",
               "Thanks a lot!", "Many thanks.", "Great, thanks!",
               "Thanks for your help.", "That helps, thank you.", "Good job!", "Well done!", "Great!",
               "Perfect, thank you.", "Nice!", "Cool", "ok", "OK, thanks"],
        "zh": ["谢谢", "谢谢！", "谢谢你", "谢谢你！", "多谢", "非常感谢！", "感谢你的帮助", "太好了，谢谢！", "真棒！", "很好", "做得好！",
               "好的", "好的，谢谢", "不错", "辛苦了"]},
    "bye": {
        "en": ["Bye", "Bye!", "Goodbye", "Goodbye!", "See you!", "See you later.", "Good night!",
               "Good night", "That is all, bye.", "Have a nice day!", "Farewell."],
        "zh": ["再见", "再见！", "拜拜", "拜拜！", "晚安", "晚安！", "回头见", "下次见", "我走了，再见", "没事了，再见"]},
    "who": {
        "en": ["Who are you?", "Who are you", "What are you?", "What is your name?",
               "What's your name?", "Introduce yourself.", "Please introduce yourself.",
               "Tell me about yourself.", "Are you a human?", "Are you an AI?", "Are you a robot?",
               "Are you ChatGPT?", "Are you DeepSeek?", "What model are you?",
               "Which model is this?", "Who made you?", "Who built you?", "Who trained you?", "Who developed you?", "Who wrote you?", "Who created you?", "How big are you?",
               "Are you a large language model?", "What is Evenkeel?",
               "Who am I talking to?", "Are you real?", "Do you have a name?",
               "How many parameters do you have?"],
        "zh": ["你是谁？", "你是谁", "你叫什么名字？", "你叫什么？", "介绍一下你自己", "请介绍一下你自己。", "请做个自我介绍", "你是人吗？",
               "你是人工智能吗？", "你是机器人吗？",
               "你是ChatGPT吗？", "你是DeepSeek吗？", "你是什么模型？", "这是什么模型？", "谁创造了你？", "谁做的你？", "谁开发了你？", "谁训练了你？", "谁写的你？", "你是谁做的？", "你是谁创造的？", "你有多大？",
               "你是大模型吗？", "Evenkeel是什么？",
               "我在和谁说话？", "你有名字吗？", "你有多少参数？"]},
    "can": {
        "en": ["What can you do?", "What can you do", "What can you do for me?",
               "What are you able to do?", "What are your skills?", "How can you help me?",
               "Can you help me?",
               "Help", "help", "Help me, please.", "What do you know?", "What do you know about?", "What can you tell me?", "What do you do?", "What can I ask you?",
               "What should I ask?", "How do I use you?", "What are you good at?",
               "Can you do math?", "Can you calculate?", "Can you count?", "Can you sort numbers?",
               "Give me an example.", "What questions can you answer?",
               "What can't you do?", "What are your limits?", "Show me what you can do."],
        "zh": ["你会什么？", "你会什么", "你能做什么？", "你能做什么", "你可以做什么？", "你能帮我做什么？", "你能帮我吗？", "帮帮我", "帮助",
               "你有什么本领？", "你知道什么？", "你知道些什么？", "你懂什么？", "你都知道什么？", "你能告诉我什么？", "你是做什么的？",
               "我能问你什么？", "我该问什么？", "怎么使用你？", "你擅长什么？", "你会算术吗？", "你会算数吗？", "你会数学吗？", "你会排序吗？",
               "举个例子", "你能回答什么问题？",
               "你不会什么？", "你有什么限制？"]},
}
REPLY = {
    "greet": {
        "en": "Hello! I am Evenkeel's demo model. Give me a sum, some numbers to sort, or a word to count "
              "letters in.",
        "zh": "你好！我是Evenkeel的演示模型。给我一道算术题、几个数来排序，或者一个单词来数字母吧。"},
    "thanks": {"en": "You are welcome!", "zh": "不客气！"},
    "bye": {"en": "Goodbye!", "zh": "再见！"},
    "who": {
        "en": "I am Evenkeel's demo model, a tiny one. I can do small sums, compare and sort numbers, count letters "
              "and weekdays, and little else.",
        "zh": "我是Evenkeel的演示模型，很小。我会简单的加减乘、比较、排序，会数字母、算星期，别的都不会。"},
    "can": {
        "en": "I can add, subtract, multiply, compare and sort small numbers, solve short word problems, count a "
              "letter in a word, and find weekdays. Try \"478 + 964\".",
        "zh": "我会小数目的加减乘、比较和排序，会做简短的应用题，会数单词里的字母，会算星期几。试试“478 + 964”。"},
    "beyond": {
        "en": "I don't know. I am a small demo model; I can only do small sums, compare and sort numbers, count "
              "letters and find weekdays.",
        "zh": "我不知道。我是一个很小的演示模型，只会简单的加减乘、比较、排序、数字母和算星期。"},
    "big": {
        "en": "I can only work with whole numbers of up to four digits, and multiply three digits by two.",
        "zh": "我只会算四位以内的整数，乘法只会三位数乘两位数。"},
    "many": {
        "en": "I can only work with two or three numbers at once, and sort up to five.",
        "zh": "我一次只会算两三个数，最多给五个数排序。"},
    "that": {
        "en": "I don't know what you mean. Please ask me the whole question.",
        "zh": "我不知道你指的是什么。请把整个问题告诉我。"},
    "long": {
        "en": "I can only count letters in one word of up to 24 letters.",
        "zh": "我只会数一个不超过24个字母的单词。"},
}
THOUGHT = {
    "greet": {"en": "A greeting.", "zh": "打招呼。"},
    "thanks": {"en": "Thanks.", "zh": "道谢。"},
    "bye": {"en": "A goodbye.", "zh": "道别。"},
    "who": {"en": "A question about me.", "zh": "问我是谁。"},
    "can": {"en": "A question about what I can do.", "zh": "问我会什么。"},
    "beyond": {"en": "This is not something I can do.", "zh": "这个我不会。"},
    "big": {"en": "These numbers are too long for me.", "zh": "这些数对我太大了。"},
    "many": {"en": "These are too many numbers for me.", "zh": "数太多了。"},
    "that": {"en": "Nothing was said that this could mean.", "zh": "前面没有说过。"},
    "long": {"en": "This word is too long for me.", "zh": "这个词太长了。"},
}

TOPICS = {
    "en": ["the capital of France", "the weather", "the meaning of life", "the moon", "cats", "dogs",
           "quantum physics", "history", "love", "the stock market",
           "Python", "C++", "climate change", "China", "Germany", "music", "football",
           "the president", "a good book", "dinner", "coffee", "time", "the sun",
           "machine learning", "computers", "the sea", "black holes", "Shakespeare", "chess", "money",
           "food", "a poem", "a story", "the future", "pi", "the news",
           "the internet", "dinosaurs", "my homework", "a joke", "an essay", "Linux",
           "a recipe for bread", "Paris", "the Roman Empire", "trees", "birds", "gravity"],
    "zh": ["法国的首都", "天气", "人生的意义", "月亮", "猫", "狗", "量子物理", "历史", "爱情", "股市", "编程", "气候变化", "中国", "德国",
           "音乐", "足球", "总统", "好书", "晚饭",
           "咖啡", "时间", "太阳", "机器学习", "电脑", "大海", "黑洞", "红楼梦", "围棋", "钱", "美食", "诗", "故事", "未来", "圆周率",
           "新闻", "互联网", "恐龙", "我的作业",
           "笑话", "作文", "北京", "上海", "唐诗", "树", "鸟", "地球", "电影", "英语"],
}
BEYOND = {
    "en": ["What is {t}?", "Tell me about {t}.", "Explain {t}.", "Write about {t}.",
           "Write me a poem about {t}.", "Tell me a story about {t}.", "Do you like {t}?",
           "What do you think about {t}?", "Why is {t} important?", "Who invented {t}?",
           "Where is {t}?", "How does {t} work?", "Translate \"{t}\" into Chinese.",
           "Summarize {t} for me.", "Give me five facts about {t}.", "I want to learn about {t}.",
           "Can you help me with {t}?", "{t}", "{t}?", "Tell me a joke.",
           "Sing me a song.", "What time is it?", "What day is it today?",
           "What is the weather like today?", "Write a program that prints {t}.", "How old is {t}?",
           "Can you write code?", "Are you sad?", "Are you tired?", "Are you hungry?", "Are you bored?", "I am tired.", "I am happy.",
           "I am bored.", "I feel lonely.", "I hate you.", "I miss you.", "Write some Python code.", "Who is the president?",
           "What is the capital of {t}?", "Where do you live?", "I am sad.", "I love you.",
           "Are you happy?", "Do you dream?", "When was {t} discovered?", "Draw {t}.",
           "Find {t} on the map.", "Is {t} good?", "Tell me something about {t} and {u}.",
           "What is the difference between {t} and {u}?", "Which is better, {t} or {u}?",
           "Compare {t} and {u}.", "Sort {t}, {u} and cats.", "Which is larger, {t} or {u}?",
           "What is {t} plus {u}?", "Please think about {t}.", "Let us talk about {t}.", "Why?",
           "How?", "What?", "Yes", "No", "Really?", "Are you sure?",
           "{a} / {b}", "{a} \u00f7 {b}", "Divide {a} by {b}.",
           "What is {a} divided by {b}?", "What is the square root of {a}?", "What is {a} squared?",
           "{a}^2", "What is {a} percent of {b}?", "{a} mod {b}", "Is {a} a prime number?",
           "What is {a}.{c} + {b}.{c}?", "{a}.{c} - {b}.{c}", "Which is larger, {a}.{c} or {b}.{c}?",
           "What is -{a} + {b}?", "What is half of {a}?", "Double {a}.", "{a}", "Count to {a}.",
           "What is the factorial of {c}?", "Factor {a}.", "Solve x + {a} = {b}."],
    "zh": ["{t}是什么？", "什么是{t}？", "告诉我关于{t}的事。", "解释一下{t}", "写一篇关于{t}的文章", "写一首关于{t}的诗",
           "给我讲一个关于{t}的故事", "你喜欢{t}吗？", "你觉得{t}怎么样？",
           "为什么{t}很重要？", "谁发明了{t}？", "{t}在哪里？", "怎么学习{t}？", "把“{t}”翻译成英文", "介绍一下{t}", "我想了解{t}",
           "你能帮我做{t}吗？", "{t}", "{t}？", "讲个笑话", "唱首歌吧",
           "现在几点了？", "今天星期几？", "今天天气怎么样？", "写一个程序", "我好累", "我很开心", "我不高兴", "我很无聊", "我讨厌你", "我想你", "你难过吗？", "你累吗？", "你饿吗？", "你高兴吗？", "你无聊吗？", "你会写代码吗？", "你住在哪里？", "我很难过", "我爱你", "你开心吗？",
           "{t}和{u}有什么区别？", "{t}和{u}哪个更好？",
           "比较{t}和{u}", "{t}加{u}等于多少？", "{t}和{u}哪个大？", "请谈谈{t}", "我们聊聊{t}吧", "为什么？", "怎么办？", "什么？",
           "是", "不是", "真的吗？", "你确定吗？",
           "{a}除以{b}等于多少？", "{a}÷{b}",
           "{a}/{b}是多少", "{a}的平方根是多少？", "{a}的平方是多少？", "{a}的百分之{b}是多少？",
           "{a}是质数吗？", "{a}.{c}+{b}.{c}等于多少？", "{a}.{c}和{b}.{c}哪个大？", "-{a}+{b}等于多少？", "{a}的一半是多少？",
           "{a}的两倍是多少？", "{a}", "数到{a}", "{c}的阶乘是多少？", "解方程x+{a}={b}"],
}
BIG = {"en": ["What is {a} + {b}?", "{a} + {b}", "{a}+{b}", "{a} - {b}", "{a}-{b}",
              "What is {a} - {b}?", "Add {a} and {b}.", "Subtract {b} from {a}.",
              "Which is larger, {a} or {b}?",
              "Compare {a} and {b}.", "Compute {a} + {b}.", "Sort {a}, {b}.",
              "Is {a} larger than {b}?", "{a} plus {b}", "{a} minus {b}"],
       "zh": ["{a}加{b}等于多少？", "{a}+{b}", "{a}-{b}", "{a}减{b}等于多少？", "请计算{a}+{b}", "{a}和{b}哪个大？",
              "比较{a}和{b}", "{a}+{b}等于多少？", "把{a}、{b}排序", "{a}比{b}大吗？"]}
TIMES = {"en": ["{a} * {b}", "{a}*{b}", "{a} x {b}", "{a} × {b} = ?", "What is {a} times {b}?",
                "What is {a} * {b}?", "Multiply {a} by {b}.", "Compute {a} * {b}."],
         "zh": ["{a}乘以{b}等于多少？", "{a}乘{b}", "{a}×{b}", "{a}*{b}=？", "请计算{a}×{b}"]}
LONG = {"en": ["How many {c} are in {w}?", "How many {c}'s are in \"{w}\"?",
               "Count the letter {c} in {w}.",
               "How often does {c} appear in {w}?"],
        "zh": ["{w}里有几个{c}？", "“{w}”中有多少个{c}？", "字母{c}在{w}中出现了几次？"]}
# They sound like a skill, and something is missing or wrong.
NEAR = {"en": ["How many letters are in {w}?", "How many words are in this sentence?", "How many words are in this text?",
               "How many words are there in it?", "How many letters are in this sentence?", "Count the words.",
               "How many lines are in this poem?", "How many sentences are in this text?",
               "How many r's are in it?", "How many e's are in it?", "How many s are there?",
               "How many vowels are in {w}?", "How many {c}'s are in {a}{b}?", "Spell {w} backwards.",
               "What rhymes with {w}?", "Sort.", "Sort {w}.",
               "What day is it?", "What day is {a} days after {w}?", "What day is {a} days after today?",
               "What day is Christmas?", "What day was {a} weeks ago?",
               "What month is {c} months after May?",
               "What date is {a} days after March {c}?", "{w} has some apples. How many are left?",
               "Who is older?", "Who is the tallest?", "How many apples does {w} have?", "{w} + {a}",
               "{a} + {w}",
               "{a} * {w}", "{a} +", "+ + +", "= ?", "{a} {b} {c}", "Is {a} even?", "Round {a}.", "{a}!",
               "What is {a} in binary?", "What is the average of {a} and {b}?",
               "What is {c} hours after {c}:00?",
               "How many seconds are in {a} days?", "{a} dollars in euros?",
               "What is the largest number?"],
        "zh": ["{w}有几个字母？", "这句话有几个字？", "里面有几个r？", "里面有几个e？", "里面有几个s？", "里面有多少个t？", "这里有几个a？", "这里面有几个字？", "这段话有几个字？", "这篇文章有多少个字？",
               "把{w}倒过来写", "排序", "给{w}排序", "今天星期几？",
               "{w}之后{a}天是星期几？",
               "今天之后{a}天是星期几？", "国庆节是星期几？", "三月{c}日之后{a}天是几月几日？", "五月之后{c}个月是几月？", "谁更大？", "谁最高？",
               "{w}有多少个苹果？", "{w}加{a}等于多少？", "{a}加", "{a}是偶数吗？", "{a}的二进制是多少？", "{a}和{b}的平均数是多少？",
               "{a}天有多少秒？", "{a}美元是多少人民币？", "最大的数是多少？", "{a}四舍五入是多少？"]}
MANY = {"en": ["Sort {l}", "Sort these numbers: {l}", "Please sort {l}.",
               "Sort {l} in ascending order.", "Put these numbers in order: {l}", "Add {l}.", "{p}",
               "What is {p}?", "Compute {p}.", "{p} = ?"],
        "zh": ["把{l}排序", "请把{l}从小到大排序", "排序：{l}", "给{l}排序", "{p}", "{p}等于多少？", "请计算{p}", "{p}=？"]}


def made_up(rng, lang):
    if lang == "zh":
        return "".join(chr(rng.randint(0x4e00, 0x8fff)) for _ in range(rng.randint(1, 4)))
    def word():
        letters = ("bcdfghklmnprstvw", "aeiou")
        return "".join(rng.choice(letters[i % 2]) for i in range(rng.randint(2, 8)))

    return " ".join(word() for _ in range(rng.randint(1, 3)))


def topic(rng, lang):
    return made_up(rng, lang) if rng.random() < 0.3 else rng.choice(TOPICS[lang])


def language(text):
    """Whoever writes one Chinese character is answered in Chinese; bare sums are answered in English."""
    return "zh" if re.search("[\u3000-\u9fff\uff01-\uffee]", text) else "en"


WRAPPED = {"en": ["Hi! {q}", "Hello, {q}", "Please help me: {q}", "Quick question: {q}",
                  "{q} Thanks!", "{q} Thank you.",
                  "I have a question. {q}", "Hey, {q}", "{q} Please think carefully.",
                  "{q} Just the answer, please.",
                  "Can you help? {q}", "Question: {q}", "Q: {q}", "My teacher asks: {q}",
                  "Tell me: {q}", "So, {q}"],
           "zh": ["你好，{q}", "请问，{q}", "帮帮我：{q}", "{q}谢谢！", "我有个问题：{q}", "老师问：{q}", "请告诉我，{q}", "问题：{q}",
                  "{q}请仔细想一想。", "{q}只要答案。", "嗨！{q}", "麻烦你，{q}"]}


def wrap(rng, text, lang):
    """Now and then with manners around it, or impatience."""
    return rng.choice(WRAPPED[lang]).format(q=text) if rng.random() < 0.1 else text


def slip(rng, text):
    """Now and then a question as people type it: no capital, no full stop, a blank too many."""
    if rng.random() < 0.12:
        text = text.lower()
    if rng.random() < 0.12:
        text = text.rstrip(".?!。？！ ")
    if rng.random() < 0.04:
        text += rng.choice((" ", "\n", "!", "?"))
    return text


def too_big(rng, lang):
    """Numbers of more than four digits, or a product of more than three digits by two."""
    if rng.random() < 0.35:
        a, b = rng.choice(((rng.randint(100, 9999), rng.randint(100, 9999)),
                           (rng.randint(1000, 99999), rng.randint(2, 999)),
                           (rng.randint(2, 99), rng.randint(1000, 9999999))))
        return rng.choice(TIMES[lang]).format(a=a, b=b)
    a, b = (rng.randint(10 ** 4, 10 ** rng.randint(5, 9)) for _ in "ab")
    if rng.random() < 0.15:
        forms = rng.choice((days.AFTER, days.BEFORE))[lang]
        return rng.choice(forms).format(n=a, d=days.name(rng.randrange(7), lang))
    if rng.random() < 0.5:
        b = rng.randint(0, 9999)
    a, b = (a, b) if rng.random() < 0.5 else (b, a)
    return rng.choice(BIG[lang]).format(a=a, b=b)


def too_many(rng, lang):
    form = rng.choice(MANY[lang])
    sums = "{p}" in form or "Add" in form
    values = [str(rng.randint(0, 10 ** rng.randint(1, 4) - 1))
              for _ in range(rng.randint(*((4, 7) if sums else (6, 9))))]
    mark = rng.choice((", ", ",", " ", ", " if lang == "en" else "、"))
    return form.format(l=mark.join(values), p=rng.choice((" + ", "+", " - ", "-")).join(values))


def beyond(rng, lang):
    """A question out of reach -> (intent, question)."""
    kind, a, b = rng.random(), *(rng.randint(0, 10 ** rng.randint(1, 4) - 1) for _ in "ab")
    if kind < 0.16:
        return "big", too_big(rng, lang)
    if kind < 0.26:
        return "many", too_many(rng, lang)
    if kind < 0.31:
        word = "".join(rng.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(rng.randint(31, 60)))
        if rng.random() < 0.5:
            word = " ".join(hostile.word(rng) for _ in range(rng.randint(2, 5)))
        return "long", rng.choice(LONG[lang]).format(w=word, c=rng.choice(word))
    if kind < 0.36:
        kinds = ("twice", "add", "sub", "mul", "smaller", "larger", "sum", "later", "earlier", "letter")
        form = rng.choice(FOLLOW[rng.choice(kinds)][lang])
        return "that", form.format(n=rng.randint(1, 999), c=rng.choice("aeinrst"))
    if kind < 0.52:
        size = 1200 if rng.random() < 0.6 else 300
        return "beyond", hostile.prompt(rng, lang, size)
    forms = NEAR if kind < 0.64 else BEYOND
    word = topic(rng, lang) if rng.random() < 0.5 else made_up(rng, "en")
    return "beyond", rng.choice(forms[lang]).format(t=topic(rng, lang), u=topic(rng, lang), w=word, a=a, b=b,
                                                    c=rng.randint(2, 9))


def bare(text):
    return text.lower().strip(" \n.,!?\u3002\uff01\uff1f")


# What everyone says first, and nothing at all; training always has these, in whatever spelling.
MANNERS = ("greet", "thanks", "bye")
BASIC = {bare(words) for intent, by in SAY.items() for said in by.values()
         for words in (said if intent in MANNERS else said[:8])} | {""}


def small_talk(rng, lang, out_of_reach=0.5):
    if rng.random() < out_of_reach:
        intent, question = beyond(rng, lang)
    else:
        intent = rng.choice(("greet", "thanks", "bye", "who", "who", "can", "can"))
        question = rng.choice(SAY[intent][lang])
    return Asked(question, THOUGHT[intent][lang], REPLY[intent][lang], None)

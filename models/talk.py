# SPDX-License-Identifier: MIT
"""Small talk, and the honest refusals: what the model says when it is asked for anything but sums.

Each intent has a list of wordings, one short thought and one answer, in both languages. Questions
out of reach come from templates filled with everyday topics, and sometimes with made-up words, so
that the model learns to say "I can only ..." to whatever it does not know.
"""
import re

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
               "Which model is this?", "Who made you?", "Who created you?", "How big are you?",
               "Are you a large language model?", "What is Evenkeel?",
               "Who am I talking to?", "Are you real?", "Do you have a name?",
               "How many parameters do you have?"],
        "zh": ["你是谁？", "你是谁", "你叫什么名字？", "你叫什么？", "介绍一下你自己", "请介绍一下你自己。", "请做个自我介绍", "你是人吗？",
               "你是人工智能吗？", "你是机器人吗？",
               "你是ChatGPT吗？", "你是DeepSeek吗？", "你是什么模型？", "这是什么模型？", "谁创造了你？", "谁做的你？", "你有多大？",
               "你是大模型吗？", "Evenkeel是什么？",
               "我在和谁说话？", "你有名字吗？", "你有多少参数？"]},
    "can": {
        "en": ["What can you do?", "What can you do", "What can you do for me?",
               "What are you able to do?", "What are your skills?", "How can you help me?",
               "Can you help me?",
               "Help", "help", "Help me, please.", "What do you know?", "What can I ask you?",
               "What should I ask?", "How do I use you?", "What are you good at?",
               "Can you do math?", "Can you calculate?", "Can you count?", "Can you sort numbers?",
               "Give me an example.", "What questions can you answer?",
               "What can't you do?", "What are your limits?", "Show me what you can do."],
        "zh": ["你会什么？", "你会什么", "你能做什么？", "你能做什么", "你可以做什么？", "你能帮我做什么？", "你能帮我吗？", "帮帮我", "帮助",
               "你有什么本领？", "你知道什么？",
               "我能问你什么？", "我该问什么？", "怎么使用你？", "你擅长什么？", "你会算术吗？", "你会算数吗？", "你会数学吗？", "你会排序吗？",
               "举个例子", "你能回答什么问题？",
               "你不会什么？", "你有什么限制？"]},
}
REPLY = {
    "greet": {
        "en": "Hello! I am Evenkeel's demo model. Give me a sum, or a few numbers to compare or sort.",
        "zh": "你好！我是Evenkeel的演示模型。给我一道加减法，或者几个数来比较、排序吧。"},
    "thanks": {"en": "You are welcome!", "zh": "不客气！"},
    "bye": {"en": "Goodbye!", "zh": "再见！"},
    "who": {
        "en": "I am Evenkeel's demo model, a tiny one. I can add, subtract, compare and sort numbers, "
              "and little else.",
        "zh": "我是Evenkeel的演示模型，很小。我会加法、减法、比较和排序，别的都不会。"},
    "can": {
        "en": "I can add and subtract numbers of up to four digits, compare two of them, and sort up to five. "
              "Try \"478 + 964\".",
        "zh": "我会四位数以内的加法和减法，会比较两个数，会给最多五个数排序。试试“478 + 964”。"},
    "beyond": {
        "en": "I am a small demo model; I can only add, subtract, compare and sort numbers of up to four "
              "digits.",
        "zh": "我是一个很小的演示模型，只会四位数以内的加法、减法、比较和排序。"},
    "big": {
        "en": "I am a small demo model; I can only work with whole numbers of up to four digits.",
        "zh": "我是一个很小的演示模型，只会算四位以内的整数。"},
    "many": {
        "en": "I am a small demo model; I can only add or subtract two numbers, compare two, or sort up to "
              "five.",
        "zh": "我是一个很小的演示模型，只会两个数的加减和比较，最多给五个数排序。"},
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
           "Can you write code?", "Write some Python code.", "Who is the president?",
           "What is the capital of {t}?", "Where do you live?", "I am sad.", "I love you.",
           "Are you happy?", "Do you dream?", "When was {t} discovered?", "Draw {t}.",
           "Find {t} on the map.", "Is {t} good?", "Tell me something about {t} and {u}.",
           "What is the difference between {t} and {u}?", "Which is better, {t} or {u}?",
           "Compare {t} and {u}.", "Sort {t}, {u} and cats.", "Which is larger, {t} or {u}?",
           "What is {t} plus {u}?", "Please think about {t}.", "Let us talk about {t}.", "Why?",
           "How?", "What?", "Yes", "No", "Really?", "Are you sure?",
           "What is {a} times {b}?", "{a} * {b}", "{a}*{b}", "{a} x {b}", "{a} \u00d7 {b} = ?",
           "Multiply {a} by {b}.", "{a} / {b}", "{a} \u00f7 {b}", "Divide {a} by {b}.",
           "What is {a} divided by {b}?", "What is the square root of {a}?", "What is {a} squared?",
           "{a}^2", "What is {a} percent of {b}?", "{a} mod {b}", "Is {a} a prime number?",
           "What is {a}.{c} + {b}.{c}?", "{a}.{c} - {b}.{c}", "Which is larger, {a}.{c} or {b}.{c}?",
           "What is -{a} + {b}?", "What is half of {a}?", "Double {a}.", "{a}", "Count to {a}.",
           "What is the factorial of {c}?", "Factor {a}.", "Solve x + {a} = {b}."],
    "zh": ["{t}是什么？", "什么是{t}？", "告诉我关于{t}的事。", "解释一下{t}", "写一篇关于{t}的文章", "写一首关于{t}的诗",
           "给我讲一个关于{t}的故事", "你喜欢{t}吗？", "你觉得{t}怎么样？",
           "为什么{t}很重要？", "谁发明了{t}？", "{t}在哪里？", "怎么学习{t}？", "把“{t}”翻译成英文", "介绍一下{t}", "我想了解{t}",
           "你能帮我做{t}吗？", "{t}", "{t}？", "讲个笑话", "唱首歌吧",
           "现在几点了？", "今天星期几？", "今天天气怎么样？", "写一个程序", "你会写代码吗？", "你住在哪里？", "我很难过", "我爱你", "你开心吗？",
           "{t}和{u}有什么区别？", "{t}和{u}哪个更好？",
           "比较{t}和{u}", "{t}加{u}等于多少？", "{t}和{u}哪个大？", "请谈谈{t}", "我们聊聊{t}吧", "为什么？", "怎么办？", "什么？",
           "是", "不是", "真的吗？", "你确定吗？",
           "{a}乘以{b}等于多少？", "{a}乘{b}", "{a}×{b}", "{a}*{b}=？", "{a}除以{b}等于多少？", "{a}÷{b}",
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


def slip(rng, text):
    """Now and then a question as people type it: no capital, no full stop, a blank too many."""
    if rng.random() < 0.12:
        text = text.lower()
    if rng.random() < 0.12:
        text = text.rstrip(".?!。？！ ")
    if rng.random() < 0.04:
        text += rng.choice((" ", "\n", "!", "?"))
    return text


def beyond(rng, lang):
    """A question out of reach -> (intent, question)."""
    kind = rng.random()
    if kind < 0.14:
        a, b = (rng.randint(10 ** 4, 10 ** rng.randint(5, 9)) for _ in "ab")
        if rng.random() < 0.5:
            b = rng.randint(0, 9999)
        a, b = (a, b) if rng.random() < 0.5 else (b, a)
        return "big", rng.choice(BIG[lang]).format(a=a, b=b)
    values = [str(rng.randint(0, 10 ** rng.randint(1, 4) - 1)) for _ in range(rng.randint(6, 9))]
    if kind < 0.26:
        form = rng.choice(MANY[lang])
        mark = rng.choice((", ", ",", " ", ", " if lang == "en" else "、"))
        terms = rng.choice((" + ", "+", " - ", "-"))
        if "{p}" in form or "Add" in form:
            values = values[:rng.randint(3, 5)]
        return "many", form.format(l=mark.join(values), p=terms.join(values))
    form = rng.choice(BEYOND[lang])
    return "beyond", form.format(t=topic(rng, lang), u=topic(rng, lang), a=values[0], b=values[1],
                                 c=rng.randint(2, 9))


def bare(text):
    return text.lower().strip(" \n.,!?\u3002\uff01\uff1f")


# What everyone says first; training always has these, in whatever spelling.
MANNERS = ("greet", "thanks", "bye")
BASIC = {bare(words) for intent, by in SAY.items() for said in by.values()
         for words in (said if intent in MANNERS else said[:8])}


def small_talk(rng, lang):
    """-> (question, thought, answer)"""
    if rng.random() < 0.5:
        intent, question = beyond(rng, lang)
    else:
        intent = rng.choice(("greet", "thanks", "bye", "who", "who", "can", "can"))
        question = rng.choice(SAY[intent][lang])
    return question, THOUGHT[intent][lang], REPLY[intent][lang]

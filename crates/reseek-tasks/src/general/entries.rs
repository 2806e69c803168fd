//! The lists behind the exchanges, and the templates over them.

use std::sync::LazyLock;

use crate::families::{Both, Questions};

/// One exchange in both languages, with its wordings.
pub(super) struct Entry {
    pub prompts: Questions,
    pub response: Both,
}

/// All exchanges, by kind.
pub(super) static ENTRIES: LazyLock<Vec<Vec<Entry>>> = LazyLock::new(|| {
    vec![
        SAID.iter().map(said).collect(),
        CAPITALS.iter().map(capital).collect(),
        OPPOSITES.iter().map(opposite).collect(),
        TRANSLATIONS.iter().map(translation).collect(),
        COLOURS.iter().map(colour).collect(),
        SENTENCES.iter().map(sentence).collect(),
    ]
});

/// English prompts, Chinese prompts, English response, Chinese response.
type Said = ([&'static str; 2], [&'static str; 2], &'static str, &'static str);

const SAID: [Said; 14] = [
    (["Hello.", "Hi!"], ["你好。", "您好！"], "Hello! How can I help you?", "你好！有什么可以帮你？"),
    (
        ["Good morning.", "Morning!"],
        ["早上好。", "早安！"],
        "Good morning! What can I do for you?",
        "早上好！我能为你做什么？",
    ),
    (
        ["Good evening.", "Evening!"],
        ["晚上好。", "晚上好啊！"],
        "Good evening! What can I do for you?",
        "晚上好！我能为你做什么？",
    ),
    (["Thank you.", "Thanks a lot!"], ["谢谢。", "多谢你！"], "You are welcome.", "不客气。"),
    (["Goodbye.", "See you!"], ["再见。", "回头见！"], "Goodbye! Have a nice day.", "再见！祝你愉快。"),
    (
        ["How are you?", "How do you do?"],
        ["你好吗？", "你怎么样？"],
        "I am well, thank you. And you?",
        "我很好，谢谢。你呢？",
    ),
    (
        ["Who are you?", "What is your name?"],
        ["你是谁？", "你叫什么名字？"],
        "I am Reseek, a small language model.",
        "我是Reseek，一个小语言模型。",
    ),
    (
        ["What can you do?", "What are you good at?"],
        ["你会做什么？", "你擅长什么？"],
        "I solve small problems with numbers, words and logic.",
        "我会解数字、单词和逻辑的小题。",
    ),
    (
        ["Are you a person?", "Are you human?"],
        ["你是人吗？", "你是真人吗？"],
        "No, I am a computer program.",
        "不是，我是计算机程序。",
    ),
    (
        ["How big are you?", "Are you a large model?"],
        ["你有多大？", "你是大模型吗？"],
        "I am very small, trained on a laptop.",
        "我很小，是在一台笔记本上训练的。",
    ),
    (
        ["Do you make mistakes?", "Are you always right?"],
        ["你会出错吗？", "你总是对的吗？"],
        "Yes, I make mistakes. Please check what I say.",
        "我会出错，请核对我说的话。",
    ),
    (
        ["Which languages do you speak?", "Do you speak Chinese?"],
        ["你会说哪些语言？", "你会说英文吗？"],
        "I speak a little English and Chinese.",
        "我会一点中文和英文。",
    ),
    (
        ["Can you help me?", "I need help."],
        ["你能帮我吗？", "我需要帮助。"],
        "Of course. What is your question?",
        "当然。你的问题是什么？",
    ),
    (
        ["I am sad.", "I feel sad today."],
        ["我很难过。", "我今天很难过。"],
        "I am sorry to hear that. Do you want to talk?",
        "听到这个我很难过。想聊聊吗？",
    ),
];

fn said((english, chinese, response, response_zh): &Said) -> Entry {
    Entry {
        prompts: Questions::new(english.map(String::from), chinese.map(String::from)),
        response: Both::new(*response, *response_zh),
    }
}

/// Country and capital in English and in Chinese.
const CAPITALS: [[&str; 4]; 20] = [
    ["France", "Paris", "法国", "巴黎"],
    ["China", "Beijing", "中国", "北京"],
    ["Japan", "Tokyo", "日本", "东京"],
    ["Italy", "Rome", "意大利", "罗马"],
    ["Spain", "Madrid", "西班牙", "马德里"],
    ["Germany", "Berlin", "德国", "柏林"],
    ["Russia", "Moscow", "俄罗斯", "莫斯科"],
    ["Egypt", "Cairo", "埃及", "开罗"],
    ["Greece", "Athens", "希腊", "雅典"],
    ["Britain", "London", "英国", "伦敦"],
    ["India", "New Delhi", "印度", "新德里"],
    ["Canada", "Ottawa", "加拿大", "渥太华"],
    ["Poland", "Warsaw", "波兰", "华沙"],
    ["Austria", "Vienna", "奥地利", "维也纳"],
    ["Norway", "Oslo", "挪威", "奥斯陆"],
    ["Cuba", "Havana", "古巴", "哈瓦那"],
    ["Kenya", "Nairobi", "肯尼亚", "内罗毕"],
    ["Thailand", "Bangkok", "泰国", "曼谷"],
    ["Portugal", "Lisbon", "葡萄牙", "里斯本"],
    ["Vietnam", "Hanoi", "越南", "河内"],
];

fn capital([country, capital, country_zh, capital_zh]: &[&str; 4]) -> Entry {
    Entry {
        prompts: Questions::new(
            [format!("What is the capital of {country}?"), format!("Name the capital of {country}.")],
            [format!("{country_zh}的首都是哪里？"), format!("请说出{country_zh}的首都。")],
        ),
        response: Both::new(
            format!("The capital of {country} is {capital}."),
            format!("{country_zh}的首都是{capital_zh}。"),
        ),
    }
}

/// A word and its opposite in English and in Chinese.
const OPPOSITES: [[&str; 4]; 16] = [
    ["hot", "cold", "热", "冷"],
    ["big", "small", "大", "小"],
    ["long", "short", "长", "短"],
    ["high", "low", "高", "低"],
    ["fast", "slow", "快", "慢"],
    ["new", "old", "新", "旧"],
    ["black", "white", "黑", "白"],
    ["open", "closed", "开", "关"],
    ["full", "empty", "满", "空"],
    ["early", "late", "早", "晚"],
    ["light", "heavy", "轻", "重"],
    ["near", "far", "近", "远"],
    ["many", "few", "多", "少"],
    ["left", "right", "左", "右"],
    ["up", "down", "上", "下"],
    ["front", "back", "前", "后"],
];

fn opposite([word, opposite, word_zh, opposite_zh]: &[&str; 4]) -> Entry {
    Entry {
        prompts: Questions::new(
            [format!("What is the opposite of {word}?"), format!("Give the opposite of the word {word}.")],
            [format!("“{word_zh}”的反义词是什么？"), format!("说出“{word_zh}”的反义词。")],
        ),
        response: Both::new(
            format!("The opposite of {word} is {opposite}."),
            format!("“{word_zh}”的反义词是“{opposite_zh}”。"),
        ),
    }
}

const TRANSLATIONS: [[&str; 2]; 24] = [
    ["cat", "猫"],
    ["dog", "狗"],
    ["horse", "马"],
    ["fish", "鱼"],
    ["bird", "鸟"],
    ["sun", "太阳"],
    ["moon", "月亮"],
    ["star", "星"],
    ["water", "水"],
    ["fire", "火"],
    ["tree", "树"],
    ["flower", "花"],
    ["mountain", "山"],
    ["river", "河"],
    ["sea", "海"],
    ["rain", "雨"],
    ["snow", "雪"],
    ["wind", "风"],
    ["tea", "茶"],
    ["rice", "米"],
    ["book", "书"],
    ["door", "门"],
    ["hand", "手"],
    ["heart", "心"],
];

fn translation([english, chinese]: &[&str; 2]) -> Entry {
    Entry {
        prompts: Questions::new(
            [format!("How do you say {chinese} in English?"), format!("What does {chinese} mean?")],
            [format!("{english}用中文怎么说？"), format!("{english}是什么意思？")],
        ),
        response: Both::new(format!("It means {english}."), format!("意思是“{chinese}”。")),
    }
}

/// A thing and its colour in English and in Chinese.
const COLOURS: [[&str; 4]; 12] = [
    ["snow", "white", "雪", "白色"],
    ["grass", "green", "草", "绿色"],
    ["the sea", "blue", "大海", "蓝色"],
    ["blood", "red", "血", "红色"],
    ["coal", "black", "煤", "黑色"],
    ["a lemon", "yellow", "柠檬", "黄色"],
    ["milk", "white", "牛奶", "白色"],
    ["a leaf", "green", "树叶", "绿色"],
    ["the sky", "blue", "天空", "蓝色"],
    ["a carrot", "orange", "胡萝卜", "橙色"],
    ["a crow", "black", "乌鸦", "黑色"],
    ["gold", "yellow", "金子", "黄色"],
];

fn colour([thing, colour, thing_zh, colour_zh]: &[&str; 4]) -> Entry {
    let mut response = format!("{thing} is {colour}.");
    response[..1].make_ascii_uppercase();
    Entry {
        prompts: Questions::new(
            [format!("What color is {thing}?"), format!("Tell me the color of {thing}.")],
            [format!("{thing_zh}是什么颜色？"), format!("请说出{thing_zh}的颜色。")],
        ),
        response: Both::new(response, format!("{thing_zh}是{colour_zh}的。")),
    }
}

/// A subject and a sentence about it in English and in Chinese.
const SENTENCES: [[&str; 4]; 12] = [
    ["rain", "The rain taps softly on the roof.", "雨", "雨轻轻地敲着屋顶。"],
    ["the moon", "The moon hangs bright above the lake.", "月亮", "明月高高挂在湖上。"],
    ["spring", "In spring the trees turn green again.", "春天", "春天，树又绿了。"],
    ["winter", "Snow covers the quiet fields in winter.", "冬天", "冬天，雪盖住了安静的田野。"],
    ["the sea", "The waves of the sea never rest.", "大海", "大海的浪从不停歇。"],
    ["a friend", "A good friend listens with patience.", "朋友", "好朋友会耐心地听你说。"],
    ["a book", "A good book opens a new world.", "书", "一本好书打开一个新世界。"],
    ["tea", "A cup of hot tea warms the hands.", "茶", "一杯热茶暖了双手。"],
    ["a river", "The river winds slowly through the valley.", "河", "小河慢慢流过山谷。"],
    ["a bird", "A small bird sings in the morning.", "鸟", "小鸟在早晨歌唱。"],
    ["home", "At home a lamp is always burning.", "家", "家里总有一盏灯亮着。"],
    ["a teacher", "The teacher explains it once more with a smile.", "老师", "老师微笑着又讲了一遍。"],
];

fn sentence([subject, text, subject_zh, text_zh]: &[&str; 4]) -> Entry {
    Entry {
        prompts: Questions::new(
            [format!("Write a sentence about {subject}."), format!("Please write one line about {subject}.")],
            [format!("写一句关于{subject_zh}的话。"), format!("请用一句话写{subject_zh}。")],
        ),
        response: Both::new(*text, *text_zh),
    }
}

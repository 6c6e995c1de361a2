"""What names are made of, as text: surnames of the long tail, characters of given names by generation and sex, other naming.

Orders carry the frequencies: whatever stands first in a text is the most common (`names.py` turns ranks into shares). The
common surnames are those of the city (`broker.demo.people`). What must not go in here: how a name is put together (names.py)
and how it is miswritten (characters.py, slips.py).
"""

from __future__ import annotations

from typing import NamedTuple

# Together about a tenth of the population: the tail that makes a surname alone worth something as evidence.
TAIL_SURNAMES = (
    "段常乔赖庞樊兰殷施洪翟安颜倪严牛温芦季俞章鲁葛伍申尤毕聂丛焦柳邢路岳齐梅莫庄辛管祝左涂谷祁时舒耿牟卜詹关苗凌费纪靳盛"
    "童欧甄项曲成游阳裴席卫查屈鲍位霍翁隋植甘景薄单包司柏宁柯阮桂闵解强柴华车冉房边辜吉饶刁瞿戚丘古米池滕晋苑邬臧畅宫来苟全"
    "褚廉简娄盖符奚木穆党燕郎邸冀谈姬屠连郜晏栾郁商蒙计喻揭窦迟宇敖糜鄢冷卓花仇艾蓝都满弓匡国寇广禄东沃利蔚隆师巩晁勾融訾阚"
    "那空毋沙须丰巢蒯相后荆红竺权逯宓蓬郗班仰秋仲伊仉宿白怀蒲邰从鄂索咸籍卞濮牧慎戈庾终暨居衡步耿弘殳养鞠阙冶佘帅缑亢况琴"
    "岑经裘缪干宣贲邓诸钮嵇滑荣羊於惠曲封芮羿储汲邴松井富乌焦巴隗山侯全班仰伏岩千藏闪苍海银丹"
)
MORE_DOUBLE_SURNAMES = "司徒 令狐 夏侯 东方 端木 慕容 公孙 轩辕 长孙 宇文 独孤 南宫 西门 完颜"


class Generation(NamedTuple):
    """What parents of one time called their sons, or their daughters."""

    first: str
    second: str
    single: str
    single_share: float  # of names with one given character


# From this year of birth: sons, daughters.
GENERATIONS: dict[int, tuple[Generation, Generation]] = {
    0: (
        Generation(
            "德永玉文国振福春成兴金明长世荣富庆云正学", "清山林贵福荣祥生德春明才臣昌义海田发龙", "明德福林生荣贵山清平", 0.12
        ),
        Generation("秀桂玉淑凤兰翠素金月春美文惠云爱", "英兰珍芳梅华荣琴香云莲芝清珠花", "英兰芳珍琴", 0.08),
    ),
    1950: (
        Generation(
            "建国志卫新永光德玉文明金长福春树学振胜", "国华民军平生强明林山东义贵成祥海新清龙", "军平强勇民刚明华林生", 0.18
        ),
        Generation("秀桂玉淑丽凤春美金爱素红翠建惠小文亚", "英兰华珍芳梅荣琴玲霞香云莲萍芝", "英芳兰霞琴萍玲华", 0.13),
    ),
    1965: (
        Generation(
            "建志国卫海永红文晓立明春军新小少俊振向",
            "军华强明平东伟民辉林波生峰涛斌勇刚忠锋",
            "勇军伟强刚斌涛辉波锋平明林东",
            0.32,
        ),
        Generation(
            "丽秀晓玉红春艳小桂海美建文冬雪金爱淑", "红梅霞芳丽萍英华玲燕琴珍莉娟敏香", "丽敏芳霞燕红艳静娟萍英玲梅", 0.30
        ),
    ),
    1980: (
        Generation(
            "志文晓建海俊永小伟国立少金春明玉振世佳",
            "伟强鹏飞华杰峰超辉亮军龙波涛明平斌宁磊",
            "伟磊鹏超涛杰强勇飞亮斌波浩峰凯",
            0.40,
        ),
        Generation(
            "晓丽小艳海雪文春玉红婷佳美静莉思雅亚",
            "丽娟燕霞玲静芳敏婷萍娜梅红莉琴洁艳慧",
            "静丽娜敏燕婷艳娟霞玲洁莉丹雪倩",
            0.38,
        ),
    ),
    1995: (
        Generation(
            "俊文子志嘉宇浩思泽家晓建明天伟海振梓一", "杰豪轩宇辉浩鑫龙涛鹏翔明阳峰文凯伟超航", "浩鑫杰宇超凯帅涛旭阳翔鹏", 0.22
        ),
        Generation(
            "雨思佳欣梦雪嘉诗晓子文静婷雅慧紫玉可", "婷怡琪欣雯涵颖倩雪莹萱慧敏瑶静洁佳妮蕾", "婷颖欣悦雪静倩莹瑶琪", 0.18
        ),
    ),
    2010: (
        Generation("子浩宇梓一俊沐奕嘉泽宸皓铭明睿天佳景思", "轩宇涵豪泽睿辰浩然霖宸熙航博阳铭杰诚言", "睿轩宸霖浩诺铭", 0.04),
        Generation("梓欣雨诗一子思可语若佳芷依艺紫沐昕奕", "涵萱怡琪彤妍瑶悦诺馨然汐熙妍蕊霏柔颜桐", "诺汐彤妍悦萱", 0.04),
    ),
}
# Whatever else people are called, at any time: the tail of every generation.
ANY_TIME = (
    "安邦宝炳博才昌畅潮琛晨诚驰初川纯聪达道登迪典定冬栋端敦恩尔方丰风逢凡冠广贵桂晗瀚航和恒弘宏洪鸿厚虎欢焕惠霁吉骥继坚江"
    "锦劲靖敬炯久君钧康科克坤来乐理力良亮麟霖伶璐伦满茂勉民敏铭默楠年念沛佩奇启千乔钦勤青卿晴庆秋仁如润瑞若森尚韶申升圣盛"
    "胜石树顺思松泰腾庭挺同彤威维炜蔚祥晓孝心欣星雄修绪轩宣学勋亚延严炎彦扬耀业依宜毅谊银英莹影映勇友佑渝宇羽煜玉育郁毓元"
    "远悦越云运韵再泽增展兆哲臻真震正政之芝知治忠州洲竹卓茁姿紫宗祖作冰蓓碧彩婵翠黛笛蝶菲芬馥歌瑰荷姬嘉娇菊隽珂兰岚蕾黎莲"
    "琳玲柳露曼媚美娣妙娜妮凝巧俏沁琼蓉珊淑爽素桃甜婉薇文雯霞仙香湘馨秀璇雅嫣燕瑶怡艺苑月云枝珠妆"
)
# Outside everyday fonts: in the basic plane, in the supplementary planes, and for private use. A private-use one is where
# the code tables of before GB 18030-2005 put a character that Unicode did not have yet; registers still hold them.
RARE = "喆堃龑昪璟翀骉犇淼䶮㛃㙓\U0002c029\U00020164\U0002b5e6\U0002cd0a\ue863\ue81e\ue826\ue843"
PRIVATE_USE = {
    "\ue863": "\u4dae",
    "\ue81e": "\u9fb4",
    "\ue826": "\u9fb5",
    "\ue82b": "\u9fb6",
    "\ue82c": "\u9fb7",
    "\ue832": "\u9fb8",
    "\ue843": "\u9fb9",
    "\ue854": "\u9fba",
    "\ue864": "\u9fbb",
}
# Own names by sex; the second part is the father's own name, so that brothers and sisters share it.
OWN_NAMES = (
    "阿卜杜拉 买买提 艾力 艾合买提 吐尔逊 库尔班 依明 牙生 玉素甫 吾守尔 艾尔肯 木拉提 努尔兰 叶尔兰 巴合提 阿布都热合曼 "
    "麦麦提江 亚力坤 帕尔哈提 迪力夏提 居马 肉孜 赛买提 塔依尔 阿迪力 热合木 伊力哈木 卡哈尔 托合提 乌斯曼",
    "古丽娜尔 阿依古丽 热依汗 帕提古丽 米热古丽 阿米娜 祖丽胡马尔 迪丽努尔 茹仙古丽 阿孜古丽 努尔古丽 沙吉旦 玛依拉 热孜万古丽 "
    "再努尔 哈丽旦 早热姑 布海丽其 古扎丽努尔 阿曼古丽 依巴代提 佐热古丽 美丽古丽 吐尔逊古丽",
)
WHOLE_NAMES = (  # names without a surname and without parts
    "扎西次仁 丹增罗布 洛桑顿珠 多吉才让 次仁旺堆 格桑平措 巴桑次仁 贡布扎西 仁青多吉 旦增晋美 阿旺曲扎 索朗达杰",
    "德吉央宗 卓玛拉姆 次仁德吉 白玛央金 拉珍曲珍 格桑卓嘎 达娃卓玛 尼玛拉姆 仁青卓玛 旦增白姆 央金措姆 边巴卓嘎",
)
DOTTED_ETHNICITIES = ("维吾尔族", "哈萨克族", "乌孜别克族")
UNDOTTED_ETHNICITIES = ("藏族", "门巴族")
# Per thousand of those with a surname.
ETHNICITIES: dict[str, int] = {
    "汉族": 942,
    "壮族": 14,
    "满族": 9,
    "回族": 9,
    "苗族": 8,
    "土家族": 7,
    "蒙古族": 5,
    "布依族": 3,
    "朝鲜族": 2,
    "彝族": 1,
}

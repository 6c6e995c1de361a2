"""Characters that are written for one another: by their sound, by their shape, as another form of the same character.

Drawn up for the characters that names are made of here, not for all of Chinese, and on purpose not from the tables that linking
uses: errors made by the same table that undoes them would flatter it. What must not go in here: which names get which error
(slips.py).
"""

from __future__ import annotations

from string import ascii_lowercase

# Syllable without its tone, then the characters read so in names (in surnames by their reading as surnames).
_READINGS = """
ai艾爱 an安 ao敖 ba巴八 bai白柏 ban班办 bang邦 bao鲍包宝 bei蓓 ben贲 bi毕碧薜 bian边卞 bin斌 bing邴炳冰 bo卜薄博波
bu步 cai蔡才彩 cang藏苍 cao曹 cen岑 chai柴 chan婵 chang常畅长昌 chao晁巢潮超 che车 chen陈琛晨臣宸辰沉 cheng程成诚
chi池迟驰 chu褚储初 chuan川 chun纯春淳醇莼椿 cong丛从聪 cui崔翠催 da达大 dai戴黛 dan丹 dang党 dao道 de德 deng邓登
di邸迪笛娣 dian典 diao刁 die蝶 ding丁定 dong董东冬栋冻 dou窦 du杜都独 duan段端 dun敦 e鄂 en恩 er尔 fa发 fan范樊凡
fang方房芳 fei费菲飞霏 fen芬纷汾 feng冯丰封风逢凤峰锋 fu付符富伏甫馥福夫 gai盖 gan甘干 gang刚钢纲岗罡 gao高郜
ge葛戈歌 geng耿 gong龚宫弓巩公供 gou苟勾缑 gu顾谷辜古孤 guan管关官冠 guang广光 gui桂贵瑰 guo郭国 hai海 han韩阚晗瀚涵
hang航杭 hao郝浩豪皓 he何贺和荷 heng衡恒 hong洪红弘宏鸿虹哄 hou侯后厚候 hu胡狐虎户 hua华花滑 huai怀 huan欢焕
huang黄皇 hui惠辉慧汇 huo霍 ji季纪吉冀姬计籍暨嵇汲霁骥继己 jia贾嘉佳家加珈迦甲 jian简坚建健键剑箭见 jiang蒋姜江
jiao焦娇姣骄教 jie揭杰洁捷婕节界 jin靳晋锦劲金津今瑾槿谨进 jing景荆经井靖敬静婧晶京睛 jiong炯 jiu久 ju居鞠菊 juan隽娟
jun君钧军俊均骏竣峻 kai凯恺楷慨 kang亢康抗 ke柯科克珂可客 kong孔空 kou寇 kuai蒯 kuang匡况 kun坤昆堃琨 lai赖来
lan兰蓝岚澜览 lang郎 le乐 lei雷蕾磊垒 leng冷 li李黎利理力丽立莉历励荔栗 lian廉连莲联涟链 liang梁良亮凉谅 liao廖
lin林麟霖琳临淋 ling凌令伶玲灵菱铃龄零岭领 liu刘柳浏 long龙隆珑 lou娄 lu卢陆芦鲁路禄逯璐露鹭 luan栾 lun伦仑轮
luo罗洛络落 lv吕绿 ma马玛 man满曼漫 mao毛茂冒懋 mei梅媚美枚莓眉 men门 meng孟蒙梦 mi米糜宓 mian勉 miao苗缪妙淼
min闵民敏闽旻 ming铭明鸣茗溟 mo莫默沫墨末 mou牟 mu木穆牧慕沐 na那娜纳 nan南楠男 ni倪妮 nian年念 niang娘 nie聂
ning宁凝咛柠 niu牛钮 nuo诺 ou欧 pan潘盼磐 pang庞 pei裴沛佩 peng彭蓬鹏朋棚澎 pin品 ping平萍苹坪屏瓶 pu蒲濮
qi齐祁戚奇启琪祺棋骐其旗琦绮起 qian钱千倩茜芊谦潜乾 qiang强墙锵蔷羌 qiao乔巧俏 qin秦覃琴钦勤沁 qing青卿晴庆清请情
qiong琼 qiu邱丘仇秋裘 qu曲屈瞿 quan全权犬 que阙 ran冉然 rao饶 ren任仁壬人 ri日 rong融荣容蓉 rou柔 ru如入 ruan阮
rui芮瑞睿蕊 run润 ruo若 sen森 sha沙 shan单山闪珊 shang商上尚 shao邵韶少 she佘射 shen沈申慎 sheng盛升圣胜生
shi石史施时师世诗狮士仕市适失矢什 shu舒殳树淑书叔殊疏戍 shuai帅 shuang爽 shun顺 si司思巳 song宋松 su苏宿素 sui隋
sun孙 suo索 tai邰泰太 tan谭谈 tang唐汤 tao陶桃涛滔韬淘 teng滕腾 tian田甜天 ting庭挺婷廷亭停 tong童同彤桐 tu涂屠徒土
wan万完婉 wang王汪往 wei魏韦卫位蔚隗尉威维炜薇伟唯玮纬巍为苇未 wen温文雯纹闻汶 weng翁 wo沃 wu吴武伍邬毋乌午戊
xi席奚郗西熙汐 xia夏霞侠峡 xian咸仙先鲜贤弦娴嫌 xiang向项相祥香湘翔详想襄 xiao肖晓孝小筱笑萧潇箫霄 xie谢解
xin辛心欣馨新鑫昕芯薪 xing邢星兴行形型幸杏 xiong熊雄 xiu修秀 xu徐许须绪旭栩煦戌 xuan宣轩璇萱旋璿喧玄炫 xue薛学雪
xun勋 ya亚雅娅轧 yan闫严颜燕晏鄢岩延炎彦嫣艳言妍雁焰砚研 yang杨阳仰养羊扬洋央 yao姚耀瑶尧遥要 ye叶冶业
yi伊羿依宜毅谊怡艺义一奕医仪颐亿易逸忆意翊熠已 yin尹殷银冘 ying英莹影映颖瑛樱盈 yong勇永咏泳涌用 you尤游友佑由
yu余于俞郁喻宇庾於渝羽煜玉育毓雨语裕钰遇昱誉 yuan袁苑辕元远园圆源原媛院 yue岳悦越月跃曰 yun云运韵芸耘 zai再 zang臧
ze泽择则 zeng曾增 zha查 zhai翟 zhan詹展 zhang张章仉 zhao赵兆 zhe哲 zhen甄臻真震振珍贞桢祯镇阵 zheng郑正政
zhi植之芝知治枝志芷智致稚 zhong钟仲终忠中众重 zhou周州洲舟 zhu朱祝竺诸竹珠住柱 zhuang庄妆 zhuo卓茁
zi訾姿紫子梓资孜滋自字 zong宗综棕总 zou邹 zu祖 zuo左作佐
"""
# Written in a hurry or read by a machine, one is taken for the other.
_SHAPES = """
未末宋 己已巳 日曰白 土士 王玉壬主 天夫失 大太犬 人入八 千干于 田由甲申 午牛 戊戌戍成 晴睛清请情婧靖 住佳往 侯候 刘浏
洪供 陈阵 冻栋东 朱末 弓弘 徐余涂佘 汪江 杭抗 彭澎 吕品 芬纷 什仕 沈沉 卢户芦 姜羌 崔催 薛薜 伟炜玮苇纬 萍苹平坪
芳方坊 莉利梨 梅海每 敏毓 娟涓 霞暇 红江 玲铃伶岭龄 丽俪 静净 燕莺 英瑛 华毕 兰蓝 珍诊 琴琹 芝之 涛寿 峰锋烽蜂 波坡
浩皓洁 杰术 磊嘉 飞气 军车 国园 明朋 辉晖 鹏鸥 超赵 志忘 强弦 勇男 斌武 宇字 轩杆 豪毫 涵函 睿壑 泽译择 宸辰 熙照
梓辛 沐休 奕弈 琪淇棋祺 怡恰 诺若 彤形 妍研 瑶遥 悦说 颖颍 欣忻 雯文 萱宣 倩情 婷停 慧惠 雅稚 紫柴 晓哓 建健 俊骏竣峻
嘉喜 思恩 家冢 振震 永水 光米 德徳 胜性 学字 春舂 福幅 成咸 兴举 庆床 荣菜 贵责 祥详 才寸 义叉 龙尤 忠衷 新亲 群郡
阎闫 肖尚 邱丘 候侯 蒋将 蔡察 袁衰 邓郑 曹曾 程呈 范苑 傅博 丁了 任仕 姚桃 钟仲 廖寥 邹皱 熊能 孟盂 秦泰 阎间 薄簿
冯马 吴昊 周同 胡湖 郭廓 何荷 高亮 林休 罗夕 梁粱 许午 韩朝 唐康 萧箫
"""
# The simplified form, then what a conversion to traditional characters makes of it (also where a surname should have stayed).
_TRADITIONAL = """
丽麗 历歷 励勵 张張 刘劉 浏瀏 陈陳 杨楊 阳陽 养養 扬揚 黄黃 赵趙 吴吳 邬鄔 乌烏 许許 须須 绪緒 孙孫 马馬 玛瑪 诸諸
户戶 国國 贺賀 临臨 罗羅 络絡 郑鄭 凉涼 谅諒 谢謝 汤湯 韩韓 阚闞 邓鄧 冯馮 丰豐 风風 凤鳳 峰峯 锋鋒 鹏鵬 晓曉 萧蕭
潇瀟 箫簫 东東 栋棟 冻凍 辕轅 远遠 园園 圆圓 蒋蔣 余餘 于於 郁鬱 语語 钰鈺 誉譽 独獨 叶葉 业業 诚誠 韦韋 卫衛 维維
炜煒 伟偉 玮瑋 纬緯 为爲 苇葦 苏蘇 吕呂 绿綠 卢盧 陆陸 芦蘆 鲁魯 禄祿 鹭鷺 瑶瑤 尧堯 遥遙 钟鍾 终終 众衆 谭譚 谈談
范範 时時 师師 诗詩 狮獅 适適 贾賈 侠俠 峡峽 邹鄒 梦夢 钦欽 后後 银銀 学學 闫閆 严嚴 颜顏 岩巖 彦彥 艳豔 砚硯 垒壘
龙龍 珑瓏 涛濤 韬韜 顾顧 龚龔 宫宮 巩鞏 万萬 钱錢 谦謙 潜潛 项項 详詳 畅暢 长長 乔喬 赖賴 来來 庞龐 兰蘭 蓝藍 岚嵐
澜瀾 览覽 红紅 鸿鴻 钮鈕 温溫 纹紋 闻聞 纪紀 计計 霁霽 骥驥 继繼 游遊 毕畢 聂聶 丛叢 从從 聪聰 娇嬌 骄驕 兴興 岳嶽
悦悅 跃躍 齐齊 启啓 骐騏 绮綺 庄莊 妆妝 关關 涂塗 树樹 书書 缪繆 灵靈 铃鈴 龄齡 岭嶺 领領 费費 飞飛 晋晉 锦錦 劲勁
谨謹 进進 圣聖 胜勝 欧歐 贞貞 桢楨 祯禎 镇鎮 阵陣 鲍鮑 宝寶 干幹 荆荊 经經 静靜 单單 闪閃 宁寧 咛嚀 柠檸 贵貴 闵閔
闽閩 强強 墙牆 锵鏘 蔷薔 华華 车車 边邊 饶饒 迟遲 驰馳 腾騰 缑緱 权權 储儲 连連 莲蓮 联聯 涟漣 链鏈 简簡 坚堅 键鍵
剑劍 见見 娄婁 盖蓋 党黨 栾欒 杰傑 洁潔 节節 窦竇 爱愛 满滿 况況 广廣 荣榮 资資 纳納 办辦 谊誼 艺藝 义義 医醫 仪儀
颐頤 亿億 忆憶 怀懷 咸鹹 鲜鮮 贤賢 娴嫺 恒恆 阙闕 帅帥 轩軒 贲賁 辉輝 汇匯 苍蒼 门門 纯純 莼蓴 达達 尔爾 欢歡 焕煥
钧鈞 军軍 骏駿 乐樂 伦倫 仑侖 轮輪 铭銘 鸣鳴 庆慶 请請 润潤 顺順 勋勳 亚亞 娅婭 轧軋 莹瑩 颖穎 樱櫻 咏詠 涌湧 云雲
运運 韵韻 泽澤 择擇 则則 综綜 总總 婵嬋 纷紛 隽雋 琼瓊 发發 苹蘋 刚剛 钢鋼 纲綱 岗崗 凯凱 恺愷 诺諾
"""


def _readings() -> dict[str, str]:
    found: dict[str, str] = {}
    for entry in _READINGS.split():
        characters = entry.lstrip(ascii_lowercase)
        found |= dict.fromkeys(characters, entry.removesuffix(characters))
    return found


def _others(groups: list[str]) -> dict[str, str]:
    """Map every character to the others of its groups."""
    found: dict[str, str] = {}
    for group in groups:
        for char in group:
            found[char] = "".join(dict.fromkeys(found.get(char, "") + group.replace(char, "")))
    return {char: others for char, others in found.items() if others}


READINGS: dict[str, str] = _readings()
"""Character to toneless syllable (Hanyu Pinyin, v for ü)."""
HOMOPHONES: dict[str, str] = _others([entry.lstrip(ascii_lowercase) for entry in _READINGS.split()])
"""Character to the others of its reading, tones apart."""
LOOKALIKES: dict[str, str] = _others(_SHAPES.split())
"""Character to those of nearly its shape."""
TRADITIONAL: dict[str, str] = {pair[0]: pair[1] for pair in _TRADITIONAL.split()}
"""Simplified character to its traditional form."""

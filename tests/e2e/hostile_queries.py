"""Queries that try to hang, to fill the memory or to break the server: name, expression, and times of a range query or None."""

# 1000 series of one metric, 1000 of another, see test_hostile.py.
EVERYTHING = '{__name__=~".+"}'
YEAR_S = 365 * 86_400


def nested(opening: str, inner: str, closing: str, depth: int) -> str:
    return opening * depth + inner + closing * depth


def hostile_queries(now_s: int) -> list[tuple[str, bytes | str, tuple | None]]:
    """All of them. A range is (start, end, step) in seconds."""
    widest = (now_s - 11_000, now_s, 1)
    made: list[tuple[str, bytes | str, tuple | None]] = []

    def add(name: str, query: bytes | str, times: tuple | None = None) -> None:
        made.append((name, query, times))

    # Depth and length of the text.
    for opening, inner, closing in [
        ("(", "1", ")"),
        ("(", "many", ")"),
        ("sum(", "many", ")"),
        ("abs(", "many", ")"),
        ("-", "many", ""),
        ("+", "1", ""),
        ("1+(", "1", ")"),
        ("2^", "2", ""),
        ("many and (", "many", ")"),
        ("sum by (a) (", "many", ")"),
        ("max_over_time(", "many", "[1m:1m])"),
        ('label_replace(', "many", ',"a","$1","b","(.*)")'),
        ("[", "", "]"),
        ("{", "", "}"),
        ("(", "", ""),
        ("", "1", ")"),
    ]:
        for depth in (90, 3_000, 20_000):
            add(f"{depth} times {opening}", nested(opening, inner, closing, depth))
    add("40000 terms", "1" + "+1" * 40_000)
    add("half a million terms", "1" + "+1" * 520_000)
    add("a hundred thousand unary signs between terms", "1" + "+-1" * 100_000)
    add("5000 selectors", "many" + "+many" * 5_000)
    add("20000 ors", "many" + " or many" * 20_000)
    add("5000 unlesses over a range", "many" + " unless many" * 5_000, widest)
    add("100000 labels in by", "sum by (" + ",".join(f"l{index}" for index in range(100_000)) + ") (many)")
    add("20000 matchers", "many{" + ",".join(f'l{index}!="x"' for index in range(20_000)) + "}")
    add("20000 labels in on", "many * on (" + ",".join(f"l{index}" for index in range(20_000)) + ") many")
    add("a megabyte of blanks", " " * 1_000_000 + "1")
    add("a megabyte of comment", "#" * 1_000_000)
    add("a megabyte of a name", "a" * 1_000_000)
    add("a megabyte of a text", '"' + "a" * 1_000_000 + '"')
    add("a megabyte of escapes", '"' + "\\u00e9" * 150_000 + '"')
    add("more than the longest query", "1" + " " * (2 << 20))
    add("a label value of a megabyte", 'many{a="' + "x" * 1_000_000 + '"}')

    # Ranges, steps and offsets.
    for query in [
        f"count_over_time({EVERYTHING}[10y:1ms])",
        f"{EVERYTHING}[10y:1ms]",
        f"{EVERYTHING}[10y]",
        f"{EVERYTHING}[10y:1s]",
        f"sum(rate({EVERYTHING}[10y:1ms]))",
        "max_over_time(vector(1)[10y:1ms])",
        "max_over_time(time()[100y:1ms])",
        "sum_over_time((many[1h:1ms])[1h:1ms])",
        "sum_over_time(sum_over_time(many[1h:1s])[1h:1s])",
        "sum_over_time(sum_over_time(sum_over_time(vector(1)[1d:1s])[1d:1s])[1d:1s])",
        "sum_over_time(sum_over_time(sum_over_time(sum_over_time(many[1h:10s])[1h:10s])[1h:10s])[1h:10s])",
        "quantile_over_time(0.5, many[1h:100ms])",
        "mad_over_time(many[1h:100ms])",
        "many[1h:1ms]",
        "vector(1)[290y:1ms]",
        "many offset 290y",
        "many offset -290y",
        "many @ 9223372036854775",
        "many @ -9223372036854775",
        "many @ 1e300",
        "many @ NaN",
        "many[9223372036854775807ms]",
        "many[1e300]",
        "many[NaN]",
        "many offset Inf",
        "many[(9223372036854775807*9223372036854775807)]",
        "many[(2^1024)]",
        "many[(1/0)]",
        "many offset (0/0)",
        "rate(many[5m:1ns])",
        "many[5m:0]",
        "timestamp(many @ 9223372036854775 offset -290y)",
        "predict_linear(many[1h], 1e308)",
        "double_exponential_smoothing(many[10m:10ms], 0.5, 0.5)",
    ]:
        add(query, query)
        if "[10y" not in query or "(" in query:
            add(f"{query} over a range", query, widest)
    for query in [
        EVERYTHING,
        f"sum({EVERYTHING})",
        f"rate({EVERYTHING}[1h])",
        f"sort({EVERYTHING})",
        f"quantile by (a, b) (0.5, {EVERYTHING})",
        f"stddev_over_time({EVERYTHING}[2h])",
        f"quantile_over_time(0.5, {EVERYTHING}[2h])",
        f"mad_over_time({EVERYTHING}[2h])",
        f"absent({EVERYTHING})",
        f"{EVERYTHING} or {EVERYTHING}",
        f"{EVERYTHING} and {EVERYTHING}",
        f"{EVERYTHING} * on () group_left () vector(1)",
        f"-{EVERYTHING}",
        f'label_replace({EVERYTHING}, "copy", "$1", "__name__", "(.*)")',
        f'label_join({EVERYTHING}, "all", "-", "__name__", "a", "b", "id")',
        f'count_values("v", {EVERYTHING})',
        f'count_values("v", rate({EVERYTHING}[10m]))',
        f'count_values("v", many + time())',
        f"histogram_quantile(0.9, {EVERYTHING})",
        f"topk(1e9, {EVERYTHING})",
        f"bottomk(9223372036854774784, {EVERYTHING})",
        f"limitk(1e15, {EVERYTHING})",
        f"limit_ratio(1, {EVERYTHING})",
        "time()",
        "1",
    ]:
        add(f"{query} at 11000 steps", query, widest)
    add("11001 steps", "1", (now_s - 11_001, now_s, 1))
    add("a billion steps", "1", (0, now_s, 0.001))
    add("all of time", "many", (-9_223_372_036_854, 9_223_372_036_854, 9_223_372_036))
    add("a step of a nanosecond", "many", (now_s, now_s, 1e-9))

    # Numbers.
    for number in ["9" * 309, "9" * 100_000, "-" + "9" * 309, "1e309", "1e-400", "0x" + "f" * 300, "0." + "0" * 100_000 + "1"]:
        add(f"a number of {len(number)} characters", number)
        add(f"a range of {len(number)} characters", f"many[{number}]")
        add(f"k of {len(number)} characters", f"topk({number}, many)")
    for k in ["9223372036854775808", "-9223372036854775809", "1e308", "Inf", "-Inf", "NaN", "scalar(many)"]:
        add(f"topk({k})", f"topk({k}, many)")
        add(f"limitk({k})", f"limitk({k}, many)")
    for call in ["year", "month", "days_in_month", "day_of_year", "hour"]:
        add(f"{call} of huge numbers", f"{call}(vector(1e308)) + {call}(vector(-1e308)) + {call}(vector(NaN))")
    add("rounding to nothing", "round(many, 0) + round(many, 1e-320) + round(many, Inf)")

    # Joins.
    for query in [
        "many * on () group_left () many",
        "many * on (a) group_left (b) other",
        "many * ignoring (id, a, b) group_right other",
        "many == on (a) many",
        "(many or other) * on (id) group_left () (many or other)",
        "sum without (id) (many * on (id, a, b) other) * on (a) group_right () many",
        "many + on (id) fill (0) other",
        "many + ignoring (a, b, id) group_left fill (1) other",
        "info(many)",
        'info(many, {__name__=~".+"})',
    ]:
        add(query, query)
        add(f"{query} over a range", query, widest)

    # Labels that grow.
    tenfold = "$1" * 10
    grown = "many"
    for _ in range(9):
        grown = f'label_replace({grown}, "a", "{tenfold}", "a", "(.*)")'
    add("a label that grows tenfold nine times", grown)
    add("a label of half a megabyte for each series", f'label_replace(many, "a", "{"x" * 500_000}", "", "")')
    add("a label of half a megabyte, joined", f'label_join(many, "a", "{"x" * 200_000}", "a", "a", "a", "a")')
    add("a separator joined 50000 times", 'label_join(many, "a", "xxxxxxxx"' + ', "id"' * 50_000 + ")")
    add("a label of half a megabyte, over a range", f'label_replace(many, "a", "{"x" * 500_000}", "", "")', widest)
    long_label = f'label_replace(vector(1), "a", "{"x" * 500_000}", "", "")'
    add("a label of half a megabyte carried to each series", f"many * on () group_left (a) {long_label}")
    add("a label of half a megabyte carried at 11000 steps", f"many * on () group_left (a) {long_label}", widest)
    add("a label of half a megabyte counted", f'count_values without () ("v", {long_label} + many)')
    named = f'label_replace(many, "__name__", "{"x" * 500_000}$1", "id", "(.*)")'
    add("a thousand remarks on names of half a megabyte", f"rate({named}[2m:1m])")
    add("a name of half a megabyte in a remark", f'rate(label_replace(many{{id="1"}}, "__name__", "{"x" * 500_000}", "", "")[2m:1m])')
    deep = "many"
    for _ in range(90):
        deep = f'label_replace({deep}, "a", "$1x", "a", "(.*)")'
    add("90 replaced labels", deep, widest)

    # Regular expressions.
    for regex in [
        "(a+)+$",
        "(a|aa)+b",
        "((a{100}){100}){100}",
        "(.{1,1000}){1,1000}",
        "[a-z]{1000}{1000}",
        "\\\\pL{1000}",
        "(((((((((.*)*)*)*)*)*)*)*)*)*",
        ".*" * 5_000,
        "(?i)" + "abc" * 50_000,
        "|".join(f"v{index}" for index in range(50_000)),
        "(" * 5_000 + ")" * 5_000,
        "[" * 1_000,
        "(?P<n>" * 100 + ")" * 100,
        "\\\\Q" + "." * 100_000,
        "(?:" + "a?" * 3_000 + ")" + "a" * 3_000,
        "\\\\x{10ffff}{500}",
        "[^\\\\x00-\\\\x{10ffff}]",
    ]:
        add(f"a matcher with {regex[:30]}", f'many{{a=~"{regex}"}}')
        add(f"a replacement with {regex[:30]}", f'label_replace(many, "d", "$1", "a", "{regex}")')
    add("2000 large expressions", "many{" + ",".join(f'a!~"[a-z]{{900}}x{index}"' for index in range(2_000)) + "}")
    many_regexes = ",".join(f'a!~"(?i)\\\\pL{{20}}{index}"' for index in range(20_000))
    add("20000 small expressions", f"many{{{many_regexes}}}")
    add("20000 small expressions over a range", f"many{{{many_regexes}}}", widest)
    add("5000 replacements", nested("label_replace(", "many", ',"a","$1","b","(\\\\pL{9}|x)*")', 90))
    add("names by expression", '{__name__=~"(m|o)(a|t)(n|h)(y|e)r?"}' + ' or {__name__=~".*a.*"}' * 200, widest)

    # Bytes that are no text.
    for number, raw in enumerate([b"\xff", b"\xc3\x28", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\x00", b"\x80\x80\x80"]):
        add(f"lone bytes {number}", raw)
        add(f"lone bytes {number} in a text", b'many{a="' + raw + b'"}')
        add(f"lone bytes {number} in a name", b"ma" + raw + b"ny")
        add(f"lone bytes {number} in a quoted name", b'{"ma' + raw + b'ny"}')
    add("escaped bytes", '"\\xff\\377\\U0010ffff"')
    add("escaped bytes in a matcher", 'many{a="\\xff"}')
    add("escaped bytes as a label", 'count_values("\\xff", many)')
    add("escaped bytes in a replacement", 'label_replace(many, "a", "\\xff$1", "a", "(.*)")')
    add("a line separator", "many\u2028 + 1")
    add("a byte order mark", "\ufeffmany")
    return made

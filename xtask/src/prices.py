"""Makes the price table from the wheels of genai-prices and litellm: `cargo xtask prices` calls it.

Arguments: the two wheels, and where the table and the samples go. Prices are USD per million tokens, as decimal text: no
float is ever made of one. What our table cannot say (prices by image, by request, by second) is left out, so that it is
unknown rather than wrong. litellm's file is only compared with; what differs is printed.
"""

import json
import re
import sys
import types
import zipfile
from datetime import datetime, timezone
from decimal import Decimal

# Vendors as genai-prices calls them, each with how litellm prefixes its models.
VENDORS = {
    "anthropic": "", "cerebras": "cerebras/", "cohere": "", "deepseek": "deepseek/", "fireworks": "fireworks_ai/",
    "google": "gemini/", "groq": "groq/", "minimax": "minimax/", "mistral": "mistral/", "moonshotai": "moonshot/",
    "openai": "", "openrouter": "openrouter/", "perplexity": "perplexity/", "together": "together_ai/", "x-ai": "xai/",
    "zai": "zai/",
}
LITELLM_NAMES = {"google": "gemini", "fireworks": "fireworks_ai", "moonshotai": "moonshot", "together": "together_ai", "x-ai": "xai"}
KINDS = ["input_mtok", "output_mtok", "cache_read_mtok", "cache_write_mtok", "cache_write_1h_mtok"]
# Parts of a bill that are not by the token: a model that has one of these is left out.
OTHER = ["requests_kcount", "output_image_mtok", "output_audio_mtok", "output_video_mtok", "output_reasoning_mtok",
         "output_citation_mtok", "input_text_messages_kcount"]


def main(genai, litellm, table_path, samples_path):
    providers = load_genai(genai)
    versions = f"genai-prices {version(genai)}, litellm {version(litellm)}"
    lines, kept, left_out = [], [], 0
    for provider in sorted((p for p in providers if p.id in VENDORS), key=lambda p: p.id):
        for model in provider.models:
            line = price_line(provider, model)
            left_out += line is None
            if line:
                lines.append(line)
                kept.append((provider, model))
    head = f"# Made by `cargo xtask prices` from {version_of('genai-prices', genai)} (MIT, see NOTICE). Do not edit.\n"
    with open(table_path, "w", encoding="utf-8") as file:
        file.write(head + "\n".join(lines) + "\n")
    with open(samples_path, "w", encoding="utf-8") as file:
        file.write(head + "\n".join(samples(kept)) + "\n")
    print(f"{len(lines)} models of {len(VENDORS)} vendors from {versions}; {left_out} left out, since they are not priced by the token.")
    compare(providers, {(p.id, m.id) for p, m in kept}, load_litellm(litellm))


def version_of(name, wheel):
    return f"{name} {version(wheel)}"


def version(wheel):
    return wheel.rsplit("/", 1)[-1].split("-")[1]


def load_genai(wheel):
    # Its package imports an HTTP client for updates, which is not needed here.
    sys.modules["httpx2"] = types.ModuleType("httpx2")
    sys.path.insert(0, wheel)
    from genai_prices.data import providers

    return providers


def load_litellm(wheel):
    with zipfile.ZipFile(wheel) as archive:
        return json.loads(archive.read("litellm/model_prices_and_context_window_backup.json"), parse_float=Decimal)


# === The table ===


def price_line(provider, model):
    """`vendor model rules price…`, with tabs between."""
    prices = []
    for when, price in periods(model):
        text = price_text(price)
        if text is None:
            return None
        prices.append(f"{when} {text}" if when else text)
    batch = batch_text(model)
    return "\t".join([provider.id, model.id, rules(model.match), *prices, *([batch] if batch else [])])


def periods(model):
    """Each price with when it holds: the last one that holds counts."""
    if not isinstance(model.prices, list):
        return [("", model.prices)]
    return [(when_text(conditional.constraint), conditional.prices) for conditional in model.prices]


def when_text(constraint):
    match type(constraint).__name__:
        case "NoneType":
            return ""
        case "StartDateConstraint":
            return f"@{constraint.start_date.isoformat()}"
        case "TimeOfDateConstraint":
            for time in (constraint.start_time, constraint.end_time):
                assert time.tzinfo in (None, timezone.utc), constraint
            return f"@{constraint.start_time:%H:%M}-{constraint.end_time:%H:%M}"


def price_text(price):
    """`input/output/cached/write/write-1h`, and ` >TOKENS` before what longer prompts cost; `-` is not known."""
    if any(getattr(price, kind) is not None for kind in OTHER) or price.input_mtok is None:
        return None
    values = {kind: getattr(price, kind) for kind in KINDS}
    starts = sorted({tier.start for value in values.values() for tier in getattr(value, "tiers", [])})
    parts = [tier_text(values, 0)] + [f">{start} {tier_text(values, start + 1)}" for start in starts]
    return " ".join(parts) if None not in parts and len(starts) <= 2 else None


def tier_text(values, tokens):
    texts = []
    for kind in KINDS:
        value = values[kind]
        for tier in getattr(value, "tiers", []):
            if tokens > tier.start:
                value = tier.price
        value = getattr(value, "base", value)
        if value is None:
            # A model without a price for answers gives none: it embeds.
            texts.append("0" if kind == "output_mtok" else "-")
            continue
        if value * 10**6 % 1:
            return None  # finer than a picodollar per token
        texts.append(f"{value:f}".rstrip("0").rstrip(".") if "." in f"{value:f}" else f"{value:f}")
    while texts[-1] == "-":
        texts.pop()
    return "/".join(texts)


def batch_text(model):
    variants = [v for v in model.price_variants or [] if v.when == {"processing": "batch"}]
    if not variants:
        return None
    price = variants[0].prices
    text = price_text(price) if price.input_mtok is not None and price.output_mtok is not None else None
    return f"batch {text}" if text else None


def rules(clause):
    name = type(clause).__name__
    match name:
        case "ClauseEquals":
            rule = "=" + clause.equals
        case "ClauseStartsWith":
            rule = "^" + clause.starts_with
        case "ClauseEndsWith":
            rule = "$" + clause.ends_with
        case "ClauseContains":
            rule = "~" + clause.contains
        case "ClauseOr":
            return "|".join(rules(part) for part in clause.or_)
        case "ClauseAnd":
            first, second = clause.and_
            assert second.regex == "^(?!.*-[tT][tT][sS](?:$|-))", f"a rule that this script does not know: {clause}"
            return rules(first) + "!-tts"
        case "ClauseRegex" if "[-@]" in clause.regex:
            return "|".join(pattern(clause.regex.replace("[-@]", sign)) for sign in "-@")
        case "ClauseRegex":
            return pattern(clause.regex)
        case _:
            raise SystemExit(f"a rule that this script does not know: {clause}")
    assert not re.search(r"[\t|!]", rule[1:]), rule
    return rule.lower()


def pattern(regex):
    """A regular expression of literals and digits, as a rule in which `#` stands for a digit."""
    plain = re.sub(r"\\d\{(\d)\}", lambda count: "#" * int(count[1]), regex).replace(r"\d", "#").replace(r"\.", ".")
    body = plain.removeprefix("^").removesuffix("$")
    assert plain.startswith("^") and re.fullmatch(r"[\w./@#-]+", body), f"a rule that this script does not know: {regex}"
    return ("=" if plain.endswith("$") else "^") + body.lower()


# === Samples, reckoned by genai-prices itself ===


def samples(kept):
    """`vendor name time input cached output picodollars`: for tests that compare our reckoning with theirs."""
    from genai_prices.types import Usage

    times = [datetime(2026, 11, 21, 2, 30, tzinfo=timezone.utc), datetime(2027, 2, 1, 18, 0, tzinfo=timezone.utc)]
    chosen = [pair for at, pair in enumerate(kept) if at % 17 == 0 or pair[0].id in ("deepseek", "anthropic")]
    chosen += [(p, m) for p, m in kept if p.id == "google" and "2.5-pro" in m.id]
    for provider, model in chosen:
        found = provider.find_model(model.id)
        if found is None or (provider, found) not in kept:
            continue
        for at in times:
            for tokens, cached, output in [(1200, 0, 300), (250_001, 1000, 1)]:
                usage = Usage(input_tokens=tokens, cache_read_tokens=cached, output_tokens=output)
                if found.get_prices(at).output_mtok is None:
                    usage = Usage(input_tokens=tokens, cache_read_tokens=cached)
                    output = 0
                cost = found.calc_price(usage, provider, genai_request_timestamp=at).total_price
                fields = [provider.id, model.id, int(at.timestamp() * 1000), tokens, cached, output, int(cost * 10**12)]
                yield "\t".join(map(str, fields))


# === The comparison with litellm ===


def compare(providers, kept, theirs):
    now = datetime.now(timezone.utc)
    same = different = 0
    for provider in providers:
        prefix = VENDORS.get(provider.id)
        if prefix is None:
            continue
        name = LITELLM_NAMES.get(provider.id, provider.id)
        for key, entry in sorted(theirs.items()):
            if entry.get("litellm_provider") != name or entry.get("mode") not in ("chat", "embedding"):
                continue
            model = provider.find_model(key.removeprefix(prefix))
            if model is None or (provider.id, model.id) not in kept or "input_cost_per_token" not in entry:
                continue
            price = model.get_prices(now)
            ours = [getattr(getattr(price, kind), "base", getattr(price, kind)) or 0 for kind in KINDS[:2]]
            told = [Decimal(str(entry.get(f"{kind}_cost_per_token") or 0)) * 10**6 for kind in ("input", "output")]
            if ours == told:
                same += 1
            else:
                different += 1
                print(f"  {provider.id} {key.removeprefix(prefix)}: {ours[0]:f}/{ours[1]:f} here, {told[0]:f}/{told[1]:f} in litellm")
    print(f"litellm says the same of {same} models, and otherwise of the {different} above.")


main(*sys.argv[1:])

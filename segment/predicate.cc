#include "segment/predicate.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>
#include <deque>
#include <iterator>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "re2/re2.h"

#include "segment/absl_view.h"
#include "segment/case_fold.h"

namespace segmentd {
namespace {

using segments::v1::PropertyCondition;

enum class Operator : uint8_t {
  kEquals,
  kNotEquals,
  kIn,
  kNotIn,
  kGreaterThan,
  kAtLeast,
  kLessThan,
  kAtMost,
  kBetween,
  kContains,
  kNotContains,
  kStartsWith,
  kEndsWith,
  kMatches,
  kExists,
  kBefore,
  kAfter,
  kWithinLast,
  kWithinNext,
};

// Of a regex, compiled, together with what matching it may cache.
constexpr int64_t kMaxRegexBytes = 1 << 20;

// From so many values of a list on it is searched by fingerprint.
constexpr size_t kLongList = 8;

absl::Status Invalid(std::string_view message) {
  return absl::InvalidArgumentError(AbslView(message));
}

bool Contains(std::string_view text, std::string_view part) {
  // Linear in the worst case too, which string_view::find is not.
  return part.empty() ||
         (!text.empty() && memmem(text.data(), text.size(), part.data(), part.size()) != nullptr);
}

// a < b: -1, a == b: 0, a > b: 1; nothing when they have no order.
std::optional<int> Compare(const Value& a, const Value& b) {
  if (a.type() != b.type()) return std::nullopt;
  if (a.type() == ValueType::kNumber) {
    return a.number() < b.number() ? -1 : a.number() > b.number() ? 1 : 0;
  }
  if (a.type() == ValueType::kString) return a.text().compare(b.text());
  return std::nullopt;
}

void AppendCanonical(std::string_view text, std::string* out) {
  absl::StrAppend(out, " s", text.size(), ":", AbslView(text));
}

void AppendCanonical(const Value& value, std::string* out) {
  switch (value.type()) {
    case ValueType::kString:
      AppendCanonical(value.text(), out);
      return;
    case ValueType::kNumber: {
      char digits[32];
      const double number = value.number() == 0 ? 0.0 : value.number();
      const auto end = std::to_chars(digits, std::end(digits), number).ptr;
      absl::StrAppend(out, " n", absl::string_view(digits, static_cast<size_t>(end - digits)));
      return;
    }
    case ValueType::kBoolean:
      absl::StrAppend(out, value.boolean() ? " true" : " false");
      return;
    case ValueType::kMissing:
    case ValueType::kList:
      return;
  }
}

}  // namespace

struct Predicate::Compiled {
  Operator op = Operator::kExists;
  // Operands are folded, and so must be a string that is tested.
  bool folds = false;
  bool exists = false;
  // `between`: the low end.
  Value operand;
  Value high;
  // `in` and `not_in`: ascending by fingerprint.
  std::vector<Value> list;
  std::vector<uint64_t> fingerprints;
  Time at;
  Duration window;
  std::unique_ptr<const RE2> regex;
  // Owns what the values point to.
  std::deque<std::string> strings;
  std::string canonical;
  // `fingerprints` tell the values that meet it.
  bool equality = false;

  absl::Status Set(const PropertyCondition& condition);
  absl::StatusOr<Value> Scalar(const google::protobuf::Value& value, bool fold);
  absl::Status SetValue(Operator which, std::string_view name, const google::protobuf::Value& value,
                        bool fold);
  absl::Status SetList(bool negative, const google::protobuf::ListValue& values, bool fold);
  absl::Status SetBetween(const google::protobuf::ListValue& values, bool fold);
  void SetText(Operator which, std::string_view name, const std::string& text, bool fold);
  absl::Status SetRegex(const std::string& pattern, bool ignore_case);
  absl::Status SetTime(Operator which, std::string_view name, const std::string& text);
  absl::Status SetWindow(Operator which, std::string_view name, const std::string& text);
  void Name(std::string_view name) {
    canonical = absl::StrCat(AbslView(name), folds ? "/ignore_case" : "");
  }

  bool InList(const Value& value) const;
  bool HoldsOne(const Value& value, Time now) const;
  bool Test(const Value& value, Time now) const;
};

absl::StatusOr<Value> Predicate::Compiled::Scalar(const google::protobuf::Value& value, bool fold) {
  switch (value.kind_case()) {
    case google::protobuf::Value::kStringValue:
      if (fold) {
        folds = true;
        strings.emplace_back(FoldedText(value.string_value()).view());
      } else {
        strings.push_back(value.string_value());
      }
      return Value::String(strings.back());
    case google::protobuf::Value::kNumberValue:
      if (!std::isfinite(value.number_value())) return Invalid("the number must be finite");
      return Value::Number(value.number_value());
    case google::protobuf::Value::kBoolValue:
      return Value::Boolean(value.bool_value());
    case google::protobuf::Value::kListValue:
      return Invalid("a list is not allowed here; write `in` or `not_in` for several values");
    case google::protobuf::Value::kStructValue:
    case google::protobuf::Value::kNullValue:
    case google::protobuf::Value::KIND_NOT_SET:
      break;
  }
  return Invalid("must be a string, a number, true or false");
}

absl::Status Predicate::Compiled::SetValue(Operator which, std::string_view name,
                                           const google::protobuf::Value& value, bool fold) {
  op = which;
  auto scalar = Scalar(value, fold);
  if (!scalar.ok()) return scalar.status();
  operand = *scalar;
  equality = op == Operator::kEquals && !folds;
  if (op == Operator::kEquals || op == Operator::kNotEquals) {
    fingerprints.push_back(ValueFingerprint(operand));
  } else if (operand.type() == ValueType::kBoolean) {
    return Invalid("true and false have no order; write a number or a string");
  }
  Name(name);
  AppendCanonical(operand, &canonical);
  return absl::OkStatus();
}

absl::Status Predicate::Compiled::SetList(bool negative, const google::protobuf::ListValue& values,
                                          bool fold) {
  if (values.values().empty()) return Invalid("the list must not be empty");
  if (values.values_size() == 1) {
    return negative ? SetValue(Operator::kNotEquals, "not_equals", values.values(0), fold)
                    : SetValue(Operator::kEquals, "equals", values.values(0), fold);
  }
  op = negative ? Operator::kNotIn : Operator::kIn;
  std::vector<std::pair<uint64_t, Value>> items;
  items.reserve(static_cast<size_t>(values.values_size()));
  for (const auto& value : values.values()) {
    auto scalar = Scalar(value, fold);
    if (!scalar.ok()) return scalar.status();
    items.emplace_back(ValueFingerprint(*scalar), *scalar);
  }
  std::stable_sort(items.begin(), items.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  Name(negative ? "not_in" : "in");
  for (const auto& [fingerprint, value] : items) {
    if (!list.empty() && SameValue(list.back(), value)) continue;
    fingerprints.push_back(fingerprint);
    list.push_back(value);
    AppendCanonical(value, &canonical);
  }
  equality = op == Operator::kIn && !folds;
  return absl::OkStatus();
}

absl::Status Predicate::Compiled::SetBetween(const google::protobuf::ListValue& values, bool fold) {
  op = Operator::kBetween;
  if (values.values_size() != 2) return Invalid("must be a list of two, [low, high]");
  auto low_value = Scalar(values.values(0), fold);
  if (!low_value.ok()) return low_value.status();
  auto high_value = Scalar(values.values(1), fold);
  if (!high_value.ok()) return high_value.status();
  const std::optional<int> order = Compare(*low_value, *high_value);
  if (!order.has_value()) return Invalid("low and high must be two numbers or two strings");
  if (*order > 0) return Invalid("low must not be greater than high");
  operand = *low_value;
  high = *high_value;
  Name("between");
  AppendCanonical(operand, &canonical);
  AppendCanonical(high, &canonical);
  return absl::OkStatus();
}

void Predicate::Compiled::SetText(Operator which, std::string_view name, const std::string& text,
                                  bool fold) {
  op = which;
  folds = fold;
  strings.emplace_back(fold ? FoldedText(text).view() : std::string_view(text));
  operand = Value::String(strings.back());
  Name(name);
  AppendCanonical(operand, &canonical);
}

absl::Status Predicate::Compiled::SetRegex(const std::string& pattern, bool ignore_case) {
  op = Operator::kMatches;
  RE2::Options options;
  options.set_log_errors(false);
  options.set_max_mem(kMaxRegexBytes);
  options.set_never_capture(true);
  options.set_case_sensitive(!ignore_case);
  auto compiled = std::make_unique<RE2>(pattern, options);
  if (!compiled->ok()) {
    if (compiled->error_code() == RE2::ErrorPatternTooLarge) {
      return Invalid(
          "the regular expression takes more than RE2's limit of 1 MiB; make it simpler");
    }
    return Invalid(absl::StrCat(
        "is no regular expression of RE2: ", compiled->error(),
        compiled->error_code() == RE2::ErrorRepeatSize
            ? "; repetitions go to 1,000, those within each other multiplied, and {n,m} from the "
              "smaller number"
            : ""));
  }
  regex = std::move(compiled);
  canonical = ignore_case ? "matches/ignore_case" : "matches";
  AppendCanonical(pattern, &canonical);
  return absl::OkStatus();
}

absl::Status Predicate::Compiled::SetTime(Operator which, std::string_view name,
                                          const std::string& text) {
  op = which;
  if (!ParseTimestamp(text, &at)) {
    return Invalid(
        "must be a date such as 2026-04-01, 2026-04-01T09:00 or 2026-04-01T09:00:00+05:30");
  }
  canonical = absl::StrCat(AbslView(name), " ", at.millis());
  return absl::OkStatus();
}

absl::Status Predicate::Compiled::SetWindow(Operator which, std::string_view name,
                                            const std::string& text) {
  op = which;
  auto length = ParseDuration(text);
  if (!length.ok()) return length.status();
  if (*length <= Duration()) return Invalid("must be longer than 0");
  window = *length;
  canonical = absl::StrCat(AbslView(name), " ", window.millis());
  return absl::OkStatus();
}

absl::Status Predicate::Compiled::Set(const PropertyCondition& c) {
  const bool fold = c.ignore_case();
  if (c.has_equals()) return SetValue(Operator::kEquals, "equals", c.equals(), fold);
  if (c.has_not_equals()) {
    return SetValue(Operator::kNotEquals, "not_equals", c.not_equals(), fold);
  }
  if (c.has_in()) return SetList(false, c.in(), fold);
  if (c.has_not_in()) return SetList(true, c.not_in(), fold);
  if (c.has_greater_than()) {
    return SetValue(Operator::kGreaterThan, "greater_than", c.greater_than(), fold);
  }
  if (c.has_at_least()) return SetValue(Operator::kAtLeast, "at_least", c.at_least(), fold);
  if (c.has_less_than()) return SetValue(Operator::kLessThan, "less_than", c.less_than(), fold);
  if (c.has_at_most()) return SetValue(Operator::kAtMost, "at_most", c.at_most(), fold);
  if (c.has_between()) return SetBetween(c.between(), fold);
  if (c.has_matches()) return SetRegex(c.matches(), fold);
  if (c.has_before()) return SetTime(Operator::kBefore, "before", c.before());
  if (c.has_after()) return SetTime(Operator::kAfter, "after", c.after());
  if (c.has_within_last()) return SetWindow(Operator::kWithinLast, "within_last", c.within_last());
  if (c.has_within_next()) return SetWindow(Operator::kWithinNext, "within_next", c.within_next());
  if (c.has_contains()) {
    SetText(Operator::kContains, "contains", c.contains(), fold);
  } else if (c.has_not_contains()) {
    SetText(Operator::kNotContains, "not_contains", c.not_contains(), fold);
  } else if (c.has_starts_with()) {
    SetText(Operator::kStartsWith, "starts_with", c.starts_with(), fold);
  } else if (c.has_ends_with()) {
    SetText(Operator::kEndsWith, "ends_with", c.ends_with(), fold);
  } else if (c.has_exists()) {
    op = Operator::kExists;
    exists = c.exists();
    canonical = exists ? "exists true" : "exists false";
  } else {
    return Invalid("has no operator");
  }
  return absl::OkStatus();
}

bool Predicate::Compiled::InList(const Value& value) const {
  if (list.size() < kLongList) {
    for (const Value& item : list) {
      if (SameValue(item, value)) return true;
    }
    return false;
  }
  const uint64_t fingerprint = ValueFingerprint(value);
  auto found = std::lower_bound(fingerprints.begin(), fingerprints.end(), fingerprint);
  for (; found != fingerprints.end() && *found == fingerprint; ++found) {
    if (SameValue(list[static_cast<size_t>(found - fingerprints.begin())], value)) return true;
  }
  return false;
}

bool Predicate::Compiled::HoldsOne(const Value& value, Time now) const {
  if (!folds || value.type() != ValueType::kString) return Test(value, now);
  const FoldedText folded(value.text());
  return Test(Value::String(folded.view()), now);
}

bool Predicate::Compiled::Test(const Value& value, Time now) const {
  const bool text = value.type() == ValueType::kString;
  Time time;
  switch (op) {
    case Operator::kEquals:
      return SameValue(value, operand);
    case Operator::kNotEquals:
      return !SameValue(value, operand);
    case Operator::kIn:
      return InList(value);
    case Operator::kNotIn:
      return !InList(value);
    case Operator::kGreaterThan:
      return Compare(value, operand).value_or(0) > 0;
    case Operator::kAtLeast:
      return Compare(value, operand).value_or(-1) >= 0;
    case Operator::kLessThan:
      return Compare(value, operand).value_or(0) < 0;
    case Operator::kAtMost:
      return Compare(value, operand).value_or(1) <= 0;
    case Operator::kBetween:
      return Compare(value, operand).value_or(-1) >= 0 && Compare(value, high).value_or(1) <= 0;
    case Operator::kContains:
      return text && Contains(value.text(), operand.text());
    case Operator::kNotContains:
      return !text || !Contains(value.text(), operand.text());
    case Operator::kStartsWith:
      return text && value.text().substr(0, operand.text().size()) == operand.text();
    case Operator::kEndsWith:
      return text && value.text().size() >= operand.text().size() &&
             value.text().substr(value.text().size() - operand.text().size()) == operand.text();
    case Operator::kMatches:
      return text && regex->Match({value.text().data(), value.text().size()}, 0,
                                  value.text().size(), RE2::UNANCHORED, nullptr, 0);
    case Operator::kExists:
      return exists;
    case Operator::kBefore:
      return text && ParseTimestamp(value.text(), &time) && time < at;
    case Operator::kAfter:
      return text && ParseTimestamp(value.text(), &time) && time > at;
    case Operator::kWithinLast:
      return text && ParseTimestamp(value.text(), &time) && now - window < time && time <= now;
    case Operator::kWithinNext:
      return text && ParseTimestamp(value.text(), &time) && now <= time && time < now + window;
  }
  return false;
}

absl::StatusOr<Predicate> Predicate::Compile(const PropertyCondition& condition) {
  auto compiled = std::make_shared<Compiled>();
  if (absl::Status status = compiled->Set(condition); !status.ok()) return status;
  Predicate predicate;
  predicate.compiled_ = std::move(compiled);
  return predicate;
}

bool Predicate::holds(const Value& value, Time now) const {
  const Compiled& c = *compiled_;
  if (c.op == Operator::kExists) return c.exists != value.missing();
  switch (value.type()) {
    case ValueType::kMissing:
      return false;
    case ValueType::kList:
      for (const Value& item : value.items()) {
        if (c.HoldsOne(item, now)) return true;
      }
      return false;
    case ValueType::kString:
    case ValueType::kNumber:
    case ValueType::kBoolean:
      return c.HoldsOne(value, now);
  }
  return false;
}

const std::string& Predicate::canonical() const {
  return compiled_->canonical;
}

absl::Span<const uint64_t> Predicate::equal_to() const {
  if (!compiled_->equality) return {};
  return compiled_->fingerprints;
}

bool Predicate::moves_with_time() const {
  return compiled_->op == Operator::kWithinLast || compiled_->op == Operator::kWithinNext;
}

Time Predicate::next_change(const Value& value, Time now) const {
  if (!moves_with_time()) return Time::Max();
  if (value.type() == ValueType::kList) {
    Time next = Time::Max();
    for (const Value& item : value.items()) next = std::min(next, next_change(item, now));
    return next;
  }
  Time time;
  if (value.type() != ValueType::kString || !ParseTimestamp(value.text(), &time)) {
    return Time::Max();
  }
  // Holds from the first of these on, until the second.
  const bool last = compiled_->op == Operator::kWithinLast;
  const Time from = last ? time : time - compiled_->window + Duration::Millis(1);
  const Time to = last ? time + compiled_->window : time + Duration::Millis(1);
  return from > now ? from : to > now ? to : Time::Max();
}

}  // namespace segmentd

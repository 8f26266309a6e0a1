#include "segment/definition_words.h"

#include <charconv>
#include <cmath>
#include <cstdint>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"

#include "segment/absl_view.h"

namespace segmentd {
namespace {

namespace pb = segments::v1;

std::string Quoted(std::string_view text) {
  return absl::StrCat("\"", AbslView(text), "\"");
}

std::string Quoted(const google::protobuf::Value& value) {
  switch (value.kind_case()) {
    case google::protobuf::Value::kStringValue:
      return Quoted(std::string_view(value.string_value()));
    case google::protobuf::Value::kNumberValue:
      return WordsOf(value.number_value());
    case google::protobuf::Value::kBoolValue:
      return value.bool_value() ? "true" : "false";
    default:
      return "?";
  }
}

std::string Quoted(const google::protobuf::ListValue& list) {
  std::string out = "[";
  for (const auto& value : list.values()) {
    absl::StrAppend(&out, out.size() > 1 ? ", " : "", Quoted(value));
  }
  return out + "]";
}

template <typename Condition>
std::string EventWords(const Condition& condition) {
  std::string out = condition.event();
  for (int i = 0; i < condition.where_size(); ++i) {
    absl::StrAppend(&out, i == 0 ? " where " : " and ",
                    WordsOf(condition.where(i), condition.where(i).property()));
  }
  return out;
}

template <typename Condition>
std::string NumberWords(const Condition& condition) {
  std::string out;
  const auto add = [&](bool set, std::string_view words, double number) {
    if (!set) return;
    absl::StrAppend(&out, out.empty() ? "" : " and ", AbslView(words), " ", WordsOf(number));
  };
  add(condition.has_equals(), "exactly", condition.equals());
  add(condition.has_not_equals(), "not", condition.not_equals());
  add(condition.has_greater_than(), "more than", condition.greater_than());
  add(condition.has_at_least(), "at least", condition.at_least());
  add(condition.has_less_than(), "less than", condition.less_than());
  add(condition.has_at_most(), "at most", condition.at_most());
  return out;
}

}  // namespace

std::string WordsOf(double number) {
  constexpr double kWhole = 9'007'199'254'740'992;  // 2^53
  if (std::trunc(number) == number && std::abs(number) <= kWhole) {
    return absl::StrCat(static_cast<int64_t>(number));
  }
  char digits[32];
  const auto end = std::to_chars(std::begin(digits), std::end(digits), number).ptr;
  return std::string(digits, end);
}

std::string WordsOf(const pb::PropertyCondition& c, std::string_view property) {
  std::string out(property);
  const auto add = [&](std::string_view op, std::string_view operand) {
    absl::StrAppend(&out, " ", AbslView(op), " ", AbslView(operand));
  };
  if (c.has_equals()) add("equals", Quoted(c.equals()));
  if (c.has_not_equals()) add("not_equals", Quoted(c.not_equals()));
  if (c.has_in()) add("in", Quoted(c.in()));
  if (c.has_not_in()) add("not_in", Quoted(c.not_in()));
  if (c.has_greater_than()) add("greater_than", Quoted(c.greater_than()));
  if (c.has_at_least()) add("at_least", Quoted(c.at_least()));
  if (c.has_less_than()) add("less_than", Quoted(c.less_than()));
  if (c.has_at_most()) add("at_most", Quoted(c.at_most()));
  if (c.has_between()) add("between", Quoted(c.between()));
  if (c.has_contains()) add("contains", Quoted(c.contains()));
  if (c.has_not_contains()) add("not_contains", Quoted(c.not_contains()));
  if (c.has_starts_with()) add("starts_with", Quoted(c.starts_with()));
  if (c.has_ends_with()) add("ends_with", Quoted(c.ends_with()));
  if (c.has_matches()) add("matches", Quoted(c.matches()));
  if (c.has_exists()) add("exists", c.exists() ? "true" : "false");
  if (c.has_before()) add("before", c.before());
  if (c.has_after()) add("after", c.after());
  if (c.has_within_last()) add("within_last", c.within_last());
  if (c.has_within_next()) add("within_next", c.within_next());
  if (c.ignore_case()) absl::StrAppend(&out, " (ignore_case)");
  return out;
}

std::string WordsOf(const pb::EventCondition& condition) {
  return EventWords(condition);
}

std::string WordsOf(const pb::Did& did) {
  std::string out = EventWords(did);
  if (!did.within_last().empty()) absl::StrAppend(&out, " in the last ", did.within_last());
  if (did.has_between()) {
    absl::StrAppend(&out, " from ", did.between().from(), " to before ", did.between().to());
  }
  if (!did.during().empty()) {
    absl::StrAppend(&out, " ", absl::StrReplaceAll(did.during(), {{"_", " "}}));
  }
  if (!did.time_zone().empty()) absl::StrAppend(&out, " in ", did.time_zone());
  return out;
}

std::string WordsOf(const pb::SequenceStep& step) {
  std::string out = step.has_did_not() ? absl::StrCat("no ", EventWords(step.did_not()), " for ")
                                       : EventWords(step);
  if (!step.has_did_not() && !step.within().empty()) absl::StrAppend(&out, " within ");
  return out + step.within();
}

std::string WordsOf(const pb::NumberCondition& condition) {
  return NumberWords(condition);
}
std::string WordsOf(const pb::Aggregate& condition) {
  return NumberWords(condition);
}

std::string WordsOf(const Value& value) {
  switch (value.type()) {
    case ValueType::kMissing:
      return "missing";
    case ValueType::kString:
      return Quoted(value.text());
    case ValueType::kNumber:
      return WordsOf(value.number());
    case ValueType::kBoolean:
      return value.boolean() ? "true" : "false";
    case ValueType::kList: {
      std::string out = "[";
      for (const Value& item : value.items()) {
        absl::StrAppend(&out, out.size() > 1 ? ", " : "", WordsOf(item));
      }
      return out + "]";
    }
  }
  return "";
}

}  // namespace segmentd

#include "tests/property/conditions.h"

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/string_view.h"
#include "re2/re2.h"

#include "tests/property/local_time.h"

namespace segmentd::property {

namespace pb = segments::v1;

Duration Length(const std::string& text) {
  const auto parsed = ParseDuration(text);
  if (!parsed.ok()) std::abort();
  return *parsed;
}

// -- Conditions -----------------------------------------------------------------------------------

namespace {

bool IsTrueOfOne(const pb::PropertyCondition& c, const Scalar& value, Time now) {
  // -1, 0, 1, or nothing where the types differ.
  const auto fold = [&](const std::string& text) {
    return c.ignore_case() ? absl::AsciiStrToLower(text) : text;
  };
  const auto compare = [&](const google::protobuf::Value& operand) -> std::optional<int> {
    const auto sign = [](const auto& a, const auto& b) { return a < b ? -1 : b < a ? 1 : 0; };
    if (const auto* text = std::get_if<std::string>(&value)) {
      if (!operand.has_string_value()) return std::nullopt;
      return sign(fold(*text), fold(operand.string_value()));
    }
    if (const auto* number = std::get_if<double>(&value)) {
      if (!operand.has_number_value()) return std::nullopt;
      return sign(*number, operand.number_value());
    }
    if (!operand.has_bool_value()) return std::nullopt;
    return std::get<bool>(value) == operand.bool_value() ? 0 : 1;
  };
  const auto is_in = [&](const google::protobuf::ListValue& list) {
    return std::any_of(list.values().begin(), list.values().end(),
                       [&](const auto& operand) { return compare(operand) == 0; });
  };
  const auto ordered = [&](const google::protobuf::Value& operand, auto holds) {
    const auto order = compare(operand);
    return order.has_value() && !std::holds_alternative<bool>(value) && holds(*order);
  };
  if (c.has_equals()) return compare(c.equals()) == 0;
  if (c.has_not_equals()) return compare(c.not_equals()) != 0;
  if (c.has_in()) return is_in(c.in());
  if (c.has_not_in()) return !is_in(c.not_in());
  if (c.has_greater_than()) return ordered(c.greater_than(), [](int o) { return o > 0; });
  if (c.has_at_least()) return ordered(c.at_least(), [](int o) { return o >= 0; });
  if (c.has_less_than()) return ordered(c.less_than(), [](int o) { return o < 0; });
  if (c.has_at_most()) return ordered(c.at_most(), [](int o) { return o <= 0; });
  if (c.has_between()) {
    return ordered(c.between().values(0), [](int o) { return o >= 0; }) &&
           ordered(c.between().values(1), [](int o) { return o <= 0; });
  }

  // The others are of strings.
  const auto* original = std::get_if<std::string>(&value);
  if (original == nullptr) return c.has_not_contains();
  const std::string text = fold(*original);
  if (c.has_contains()) return absl::StrContains(text, fold(c.contains()));
  if (c.has_not_contains()) return !absl::StrContains(text, fold(c.not_contains()));
  if (c.has_starts_with()) return absl::StartsWith(text, fold(c.starts_with()));
  if (c.has_ends_with()) return absl::EndsWith(text, fold(c.ends_with()));
  if (c.has_matches()) {
    static std::map<std::pair<std::string, bool>, std::unique_ptr<RE2>> compiled;
    auto& regex = compiled[{c.matches(), c.ignore_case()}];
    if (regex == nullptr) {
      RE2::Options options;
      options.set_case_sensitive(!c.ignore_case());
      regex = std::make_unique<RE2>(c.matches(), options);
    }
    return RE2::PartialMatch(*original, *regex);
  }
  Time time;
  if (!ParseTimestamp(*original, &time)) return false;
  Time bound;
  if (c.has_before()) return ParseTimestamp(c.before(), &bound) && time < bound;
  if (c.has_after()) return ParseTimestamp(c.after(), &bound) && time > bound;
  if (c.has_within_last()) return now - Length(c.within_last()) < time && time <= now;
  if (c.has_within_next()) return now <= time && time < now + Length(c.within_next());
  std::abort();
}

}  // namespace

bool IsTrueOf(const pb::PropertyCondition& c, const Datum& value, Time now) {
  const bool missing = std::holds_alternative<std::monostate>(value);
  if (c.has_exists()) return c.exists() != missing;
  if (missing) return false;
  if (const auto* list = std::get_if<std::vector<Scalar>>(&value)) {
    return std::any_of(list->begin(), list->end(),
                       [&](const Scalar& item) { return IsTrueOfOne(c, item, now); });
  }
  if (const auto* text = std::get_if<std::string>(&value))
    return IsTrueOfOne(c, Scalar(*text), now);
  if (const auto* n = std::get_if<double>(&value)) return IsTrueOfOne(c, Scalar(*n), now);
  return IsTrueOfOne(c, Scalar(std::get<bool>(value)), now);
}

Datum Get(const std::map<std::string, Datum>& properties, const std::string& name) {
  const auto at = properties.find(name);
  return at == properties.end() ? Datum() : at->second;
}

namespace {

template <typename Where>
bool MeetsAll(const Record& record, const Where& where) {
  return std::all_of(where.begin(), where.end(), [&](const auto& test) {
    return IsTrueOf(test, Get(record.properties, test.property()), record.time);
  });
}

}  // namespace

bool Meets(const Record& record, const pb::EventCondition& condition) {
  return record.name == condition.event() && MeetsAll(record, condition.where());
}

bool Meets(const Record& record, const pb::Did& did) {
  return record.name == did.event() && MeetsAll(record, did.where());
}

bool Meets(const Record& record, const pb::SequenceStep& step) {
  return record.name == step.event() && MeetsAll(record, step.where());
}

// Without port, in lower case, without "www."; empty for none.
std::string Host(const Datum& url) {
  const auto* text = std::get_if<std::string>(&url);
  if (text == nullptr) return "";
  const size_t scheme = text->find("://");
  if (scheme == std::string::npos) return "";
  std::string host = text->substr(scheme + 3);
  host = host.substr(0, host.find_first_of("/?#"));
  host = host.substr(0, host.rfind(':'));
  host = absl::AsciiStrToLower(host);
  return absl::StartsWith(host, "www.") ? host.substr(4) : host;
}

// -- The profile ----------------------------------------------------------------------------------

namespace {

std::vector<Scalar> Items(const Datum& value) {
  if (const auto* list = std::get_if<std::vector<Scalar>>(&value)) return *list;
  if (const auto* text = std::get_if<std::string>(&value)) return {*text};
  if (const auto* number = std::get_if<double>(&value)) return {*number};
  if (const auto* boolean = std::get_if<bool>(&value)) return {*boolean};
  return {};
}

}  // namespace

void Properties::apply(const Command& command, EventOrder order) {
  Datum& value = values[command.property];
  Newest& last = newest[command.property];
  const bool absolute =
      command.operation == ProfileOperation::kSet || command.operation == ProfileOperation::kDelete;
  if (order < last.absolute || (absolute && order < last.any)) return;
  last.any = std::max(last.any, order);
  if (absolute) last.absolute = order;

  const auto* number = std::get_if<double>(&value);
  const auto* by = std::get_if<double>(&command.value);
  const bool missing = std::holds_alternative<std::monostate>(value);
  switch (command.operation) {
    case ProfileOperation::kSet:
      value = command.value;
      break;
    case ProfileOperation::kDelete:
      value = Datum();
      break;
    case ProfileOperation::kIncrement:
      if (by != nullptr && (number != nullptr || missing)) value = (number ? *number : 0) + *by;
      break;
    case ProfileOperation::kDecrement:
      if (by != nullptr && (number != nullptr || missing)) value = (number ? *number : 0) - *by;
      break;
    case ProfileOperation::kAdd: {
      std::vector<Scalar> items = Items(value);
      for (const Scalar& item : Items(command.value)) {
        if (std::find(items.begin(), items.end(), item) == items.end()) items.push_back(item);
      }
      value = std::move(items);
      break;
    }
    case ProfileOperation::kRemove: {
      std::vector<Scalar> items = Items(value);
      for (const Scalar& item : Items(command.value)) std::erase(items, item);
      if (items.empty()) {
        value = Datum();
      } else if (std::holds_alternative<std::vector<Scalar>>(value)) {
        value = std::move(items);
      }
      break;
    }
  }
}

// -- The past -------------------------------------------------------------------------------------

namespace {

bool InRange(const pb::Did& did, Time at, Time now) {
  const LocalTime zone(did.time_zone());
  if (!did.within_last().empty()) return now - Length(did.within_last()) < at && at <= now;
  if (did.has_between()) {
    return Range{zone.parse(did.between().from()), zone.parse(did.between().to())}.has(at);
  }
  if (did.during().empty()) return true;
  return During(did.during(), did.week_starts() == "sunday", zone, now).has(at);
}

// Of a NumberCondition or an Aggregate.
template <typename Condition>
bool Passes(const Condition& c, double number) {
  return (!c.has_equals() || number == c.equals()) &&
         (!c.has_not_equals() || number != c.not_equals()) &&
         (!c.has_greater_than() || number > c.greater_than()) &&
         (!c.has_at_least() || number >= c.at_least()) &&
         (!c.has_less_than() || number < c.less_than()) &&
         (!c.has_at_most() || number <= c.at_most());
}

double Sum(const std::vector<const Record*>& events, const std::string& property) {
  double sum = 0;
  for (const Record* record : events) {
    const Datum value = Get(record->properties, property);
    if (const auto* number = std::get_if<double>(&value)) sum += *number;
  }
  return sum;
}

}  // namespace

bool Holds(const pb::Did& did, const std::vector<const Record*>& events, Time now) {
  std::vector<const Record*> counted;
  Time first = Time::Max();
  for (const Record* record : events) {
    first = std::min(first, record->time);
    if (InRange(did, record->time, now)) counted.push_back(record);
  }
  if (did.first_time() && (events.empty() || !InRange(did, first, now))) return false;
  const bool measured = did.has_count() || did.has_sum() || did.has_average();
  if (counted.empty() && (!measured || !did.include_users_who_did_not())) return false;
  const auto count = static_cast<double>(counted.size());
  const auto average = [&] {
    return counted.empty() ? 0 : Sum(counted, did.average().property()) / count;
  };
  return (!did.has_count() || Passes(did.count(), count)) &&
         (!did.has_sum() || Passes(did.sum(), Sum(counted, did.sum().property()))) &&
         (!did.has_average() || Passes(did.average(), average()));
}

bool Holds(const pb::Expression& e, const Situation& in) {
  const auto holds = [&](const pb::Expression& part) { return Holds(part, in); };
  if (e.has_did()) return Holds(e.did(), in.events(e.did()), in.now);
  if (e.has_did_not()) return !Holds(e.did_not(), in.events(e.did_not()), in.now);
  if (e.has_property()) {
    return IsTrueOf(e.property(), Get(*in.profile, e.property().property()), in.now);
  }
  if (!e.in_segment().empty()) return in.in_segment(e.in_segment());
  if (e.has_not_()) return !holds(e.not_());
  if (e.all_of_size() > 0) return std::all_of(e.all_of().begin(), e.all_of().end(), holds);
  if (e.any_of_size() > 0) return std::any_of(e.any_of().begin(), e.any_of().end(), holds);
  std::abort();
}

namespace {

template <typename Visit>
void ForEach(const pb::Expression& e, const Visit& visit) {
  visit(e);
  if (e.has_not_()) ForEach(e.not_(), visit);
  for (const auto& part : e.all_of()) ForEach(part, visit);
  for (const auto& part : e.any_of()) ForEach(part, visit);
}

}  // namespace

std::vector<const pb::Did*> Dids(const pb::Expression& expression) {
  std::vector<const pb::Did*> all;
  ForEach(expression, [&](const pb::Expression& e) {
    if (e.has_did()) all.push_back(&e.did());
    if (e.has_did_not()) all.push_back(&e.did_not());
  });
  return all;
}

std::vector<const pb::PropertyCondition*> Tests(const pb::Expression& expression) {
  std::vector<const pb::PropertyCondition*> all;
  ForEach(expression, [&](const pb::Expression& e) {
    if (e.has_property()) all.push_back(&e.property());
  });
  return all;
}

std::set<std::string> References(const pb::Expression& expression) {
  std::set<std::string> all;
  ForEach(expression, [&](const pb::Expression& e) {
    if (!e.in_segment().empty()) all.insert(e.in_segment());
  });
  return all;
}

const pb::Expression& ExpressionOf(const pb::Segment& segment) {
  return segment.has_past_behavior() ? segment.past_behavior() : segment.live().filter();
}

// -- Moments --------------------------------------------------------------------------------------

std::set<Time> Moments(const pb::Did& did, Time at) {
  if (!did.within_last().empty()) return {at + Length(did.within_last())};
  if (did.during().empty()) return {};
  const LocalTime zone(did.time_zone());
  std::set<Time> moments;
  for (const int later : {1, 2}) {
    moments.insert(
        zone.start(PeriodOf(did.during(), did.week_starts() == "sunday", zone.day(at), later)));
  }
  return moments;
}

std::set<Time> Moments(const pb::Did& did) {
  if (!did.has_between()) return {};
  const LocalTime zone(did.time_zone());
  return {zone.parse(did.between().from()), zone.parse(did.between().to())};
}

namespace {

std::vector<Time> TimesOf(const Datum& value, const LocalTime& zone) {
  std::vector<Time> times;
  for (const Scalar& item : Items(value)) {
    const auto* text = std::get_if<std::string>(&item);
    Time time;
    if (text != nullptr && ParseTimestamp(*text, &time)) times.push_back(zone.parse(*text));
  }
  return times;
}

}  // namespace

std::set<Time> Moments(const pb::PropertyCondition& condition, const Datum& value) {
  const Duration tick = Duration::Millis(1);
  std::set<Time> moments;
  for (const Time time : TimesOf(value, LocalTime(""))) {
    if (condition.has_within_last()) {
      moments.insert({time, time + Length(condition.within_last())});
    }
    if (condition.has_within_next()) {
      moments.insert({time - Length(condition.within_next()) + tick, time + tick});
    }
  }
  return moments;
}

std::set<Time> Moments(const pb::DateTime& date_time, const Datum& value) {
  // No history lasts longer.
  constexpr int kLastYear = 2030;
  const LocalTime zone(date_time.time_zone());
  Duration offset;
  if (!date_time.offset().empty()) offset = *ParseDuration(date_time.offset(), true);
  const int64_t a_day = Duration::Days(1).millis();

  std::set<Time> dates;
  for (const Time date : TimesOf(value, zone)) {
    dates.insert(date);
    if (date_time.recurring() != "yearly") continue;
    const absl::CivilSecond local = zone.local(date);
    const Duration below_a_second = date - zone.moment(local);
    for (auto year = local.year() + 1; year <= kLastYear; ++year) {
      absl::CivilSecond there(year, local.month(), local.day(), local.hour(), local.minute(),
                              local.second());
      // There is no such day: normalized to 1 March.
      if (there.day() != local.day()) there -= a_day / 1000;
      dates.insert(zone.moment(there) + Duration::Millis(below_a_second.millis() % 1000));
    }
  }
  if (date_time.at().empty()) {
    std::set<Time> moments;
    for (const Time date : dates) moments.insert(date + offset);
    return moments;
  }
  std::set<Time> moments;
  for (const Time date : dates) {
    const bool whole_days = offset.millis() % a_day == 0;
    const absl::CivilDay day = whole_days
                                   ? absl::CivilDay(zone.local(date)) + offset.millis() / a_day
                                   : absl::CivilDay(zone.local(date + offset));
    const std::string at = date_time.at() + (date_time.at().size() == 5 ? ":00" : "");
    const auto part = [&](size_t begin) -> int64_t { return std::stoi(at.substr(begin, 2)); };
    moments.insert(zone.moment(absl::CivilSecond(day) + part(0) * 3600 + part(3) * 60 + part(6)));
  }
  return moments;
}

}  // namespace segmentd::property

#include "tests/property/generate.h"

#include <algorithm>
#include <cstddef>
#include <initializer_list>
#include <iterator>
#include <map>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"

#include "tests/property/conditions.h"
#include "tests/property/local_time.h"

namespace segmentd::property {
namespace {

namespace pb = segments::v1;

// 2026-03-01T12:00Z.
constexpr Time kStart = Time::Millis(1'772'366'400'000);

std::string IdOf(Slot slot) {
  return absl::StrCat("s", slot);
}

constexpr int kSlots = 4;

class Generator {
 public:
  Generator(uint64_t seed, const Shape& shape) : random_(seed), shape_(shape) {}
  History run();

 private:
  template <typename T>
  T one_of(std::initializer_list<T> all) {
    return *(all.begin() + random_.below(static_cast<int>(all.size())));
  }
  bool percent(int p) { return random_.percent(p); }
  Duration units(int n) const { return Duration::Millis(unit_.millis() * n); }
  std::string length(int most) { return FormatDuration(units(1 + random_.below(most))); }

  Datum value();
  Datum when();
  pb::PropertyCondition test(const std::string& property);
  pb::PropertyCondition url_test(std::initializer_list<std::string> parts);
  pb::EventCondition condition();
  pb::Expression filter(int depth);
  // A moment within the history, or near it.
  Time moment() { return start_ + units(random_.below(30)); }
  std::string date(const std::string& zone);
  template <typename Condition>
  void compare(Condition* condition, double step);
  pb::Did did();
  pb::Expression past(int depth, Slot slot);
  pb::DateTime date_time();
  pb::Sequence sequence();
  bool reaches(Slot from, Slot to) const;
  // Of what was said before a definition read it the newest value alone is known.
  bool common() const { return !shape_.edits && !shape_.removals && (shape_.filters || mixed()); }
  bool mixed() const { return shape_.past || shape_.live || shape_.dates || shape_.sequences; }
  pb::Segment segment(Slot slot);
  pb::Segment other_segment(Slot slot);
  Record record();
  void choose_time();
  std::vector<Command> commands();

  Random random_;
  Shape shape_;
  Duration unit_;
  Time start_ = kStart;
  std::string zone_;
  // The definitions so far.
  std::map<Slot, pb::Segment> defined_;
  History history_;
};

Datum Generator::value() {
  switch (random_.below(8)) {
    case 0:
      return std::string("X");
    case 1:
    case 2:
      return std::string("x");
    case 3:
      return std::string("xy");
    case 4:
      return 1.0;
    case 5:
      return 2.0;
    case 6:
      return percent(50);
    default:
      return std::vector<Scalar>{std::string("x"), 2.0};
  }
}

pb::PropertyCondition Generator::test(const std::string& property) {
  pb::PropertyCondition c;
  c.set_property(property);
  const auto operand = [&](google::protobuf::Value* value) {
    if (percent(60)) {
      value->set_string_value(one_of<std::string>({"x", "x", "xy", "X"}));
    } else if (percent(90)) {
      value->set_number_value(1 + random_.below(2));
    } else {
      value->set_bool_value(percent(50));
    }
  };
  const auto number_or_text = [&](google::protobuf::Value* value) {
    if (percent(50)) {
      value->set_number_value(1 + random_.below(2));
    } else {
      value->set_string_value(one_of<std::string>({"x", "xx"}));
    }
  };
  const auto list = [&](google::protobuf::ListValue* values) {
    for (int n = 1 + random_.below(2); n > 0; --n) operand(values->add_values());
  };
  switch (random_.below(20)) {
    case 0:
    case 1:
    case 2:
      operand(c.mutable_equals());
      break;
    case 3:
      operand(c.mutable_equals());
      c.set_ignore_case(c.equals().has_string_value());
      break;
    case 4:
    case 5:
      list(c.mutable_in());
      break;
    case 6:
      operand(c.mutable_not_equals());
      break;
    case 7:
      list(c.mutable_not_in());
      break;
    case 8:
      number_or_text(c.mutable_greater_than());
      break;
    case 9:
      number_or_text(c.mutable_at_most());
      break;
    case 10:
      c.mutable_between()->add_values()->set_number_value(1);
      c.mutable_between()->add_values()->set_number_value(1 + random_.below(2));
      break;
    case 11:
      c.set_starts_with("x");
      break;
    case 12:
      c.set_contains("y");
      break;
    case 13:
      c.set_matches("^x.?$");
      break;
    case 14:
      number_or_text(c.mutable_at_least());
      break;
    case 15:
      number_or_text(c.mutable_less_than());
      break;
    case 16:
      c.set_not_contains("y");
      c.set_ignore_case(percent(30));
      break;
    case 17:
      c.set_ends_with("X");
      c.set_ignore_case(percent(50));
      break;
    default:
      c.set_exists(percent(50));
      break;
  }
  return c;
}

pb::PropertyCondition Generator::url_test(std::initializer_list<std::string> parts) {
  pb::PropertyCondition c;
  switch (random_.below(4)) {
    case 0:
      c.set_exists(true);
      break;
    case 1:
      c.set_starts_with("https://");
      break;
    default:
      c.set_contains(one_of(parts));
      break;
  }
  return c;
}

pb::EventCondition Generator::condition() {
  pb::EventCondition condition;
  condition.set_event(one_of<std::string>({"A", "A", "B", "B", "C", "Page Viewed"}));
  if (percent(35)) *condition.add_where() = test("p");
  if (percent(15)) *condition.add_where() = test("q");
  return condition;
}

pb::Expression Generator::filter(int depth) {
  pb::Expression e;
  const int form = depth > 2 ? 9 : random_.below(10);
  if (form == 0) {
    *e.mutable_not_() = filter(depth + 1);
  } else if (form == 1) {
    for (int n = 2; n > 0; --n) *e.add_all_of() = filter(depth + 1);
  } else if (form == 2) {
    for (int n = 2; n > 0; --n) *e.add_any_of() = filter(depth + 1);
  } else if (form == 3) {
    e.mutable_property()->set_property("when");
    const int operation = random_.below(4);
    if (operation == 0) {
      e.mutable_property()->set_before(FormatTimestamp(moment()));
    } else if (operation == 1) {
      e.mutable_property()->set_after(FormatTimestamp(moment()));
    } else if (operation == 2) {
      e.mutable_property()->set_within_last(length(3));
    } else {
      e.mutable_property()->set_within_next(length(3));
    }
  } else {
    *e.mutable_property() = test(common() && percent(30) ? std::string("context.os")
                                                         : one_of<std::string>({"u", "u", "v"}));
  }
  return e;
}

// Sometimes local to the zone.
std::string Generator::date(const std::string& zone) {
  std::string text = FormatTimestamp(moment());
  if (zone.empty() || percent(30)) return text;
  text.pop_back();
  return percent(20) ? text.substr(0, 10) : text;
}

// The least operand is 0, and what `step` makes of a few steps.
template <typename Condition>
void Generator::compare(Condition* c, double step) {
  const double operand = random_.below(5) * step;
  switch (random_.below(8)) {
    case 0:
      c->set_equals(operand);
      break;
    case 1:
      c->set_not_equals(operand);
      break;
    case 2:
      c->set_greater_than(operand);
      break;
    case 3:
      c->set_less_than(operand + step);
      break;
    case 4:
      c->set_at_most(operand);
      break;
    case 5:
      c->set_at_least(operand);
      c->set_at_most(operand + random_.below(2) * step);
      break;
    default:
      c->set_at_least(operand);
      break;
  }
}

pb::Did Generator::did() {
  pb::Did did;
  did.set_event(one_of<std::string>({"A", "A", "B", "B", "C", "Page Viewed"}));
  if (percent(20)) *did.add_where() = test("p");
  switch (random_.below(8)) {
    case 0:
    case 1:
    case 2:
      did.set_within_last(percent(90) ? length(6) : FormatDuration(Duration::Millis(1)));
      break;
    case 3:
    case 4:
      did.set_during(one_of<std::string>({"today", "today", "yesterday", "yesterday", "this_week",
                                          "last_week", "this_month", "last_month", "this_year"}));
      if (percent(70)) did.set_time_zone(zone_);
      if (did.during().ends_with("week") && percent(50)) {
        did.set_week_starts(one_of<std::string>({"monday", "sunday"}));
      }
      break;
    case 5:
      if (percent(50)) did.set_time_zone(zone_);
      for (int tries = 0; tries < 5 && !did.has_between(); ++tries) {
        const LocalTime zone(did.time_zone());
        const std::string from = date(did.time_zone());
        const std::string to = date(did.time_zone());
        if (zone.parse(from) >= zone.parse(to)) continue;
        did.mutable_between()->set_from(from);
        did.mutable_between()->set_to(to);
      }
      if (!did.has_between()) did.clear_time_zone();
      break;
    default:
      break;
  }
  if (percent(35)) compare(did.mutable_count(), 1);
  if (percent(15)) {
    did.mutable_sum()->set_property("n");
    compare(did.mutable_sum(), 0.5);
  }
  if (percent(15)) {
    did.mutable_average()->set_property("n");
    compare(did.mutable_average(), 0.25);
  }
  did.set_first_time(percent(12));
  did.set_include_users_who_did_not(percent(30));
  return did;
}

bool Generator::reaches(Slot from, Slot to) const {
  if (from == to) return true;
  if (!defined_.contains(from)) return false;
  const auto& references = References(ExpressionOf(defined_.at(from)));
  // Of one that was deleted the references stay, and it may come again.
  if (references.contains(IdOf(to))) return true;
  return std::any_of(defined_.begin(), defined_.end(), [&](const auto& other) {
    return references.contains(other.second.id()) && reaches(other.first, to);
  });
}

pb::Expression Generator::past(int depth, Slot slot) {
  pb::Expression e;
  int form = depth > 2 ? 4 + random_.below(8) : random_.below(12);
  if (shape_.removals && percent(40)) form = 7;
  if (form == 0) {
    *e.mutable_not_() = past(depth + 1, slot);
  } else if (form <= 2) {
    for (int n = 1 + random_.below(3); n > 0; --n) *e.add_all_of() = past(depth + 1, slot);
  } else if (form == 3) {
    for (int n = 1 + random_.below(3); n > 0; --n) *e.add_any_of() = past(depth + 1, slot);
  } else if (form == 4) {
    *e.mutable_did_not() = did();
  } else if (form == 5) {
    e = filter(3);
  } else if (form == 6) {
    e = filter(2);
  } else if (form == 7 && !defined_.empty()) {
    const auto one = std::next(defined_.begin(), random_.below(static_cast<int>(defined_.size())));
    // One that is not there may come, or come again.
    const Slot inner = percent(90) ? one->first : static_cast<Slot>(random_.below(kSlots));
    if (reaches(inner, slot)) {
      *e.mutable_did() = did();
    } else {
      e.set_in_segment(IdOf(inner));
    }
  } else {
    *e.mutable_did() = did();
  }
  return e;
}

pb::DateTime Generator::date_time() {
  pb::DateTime date_time;
  date_time.set_property("when");
  if (percent(60)) {
    const std::string before = percent(60) ? "-" : "";
    date_time.set_offset(before + (percent(50) ? length(4) : one_of<std::string>({"1d", "36h"})));
  }
  if (percent(40)) date_time.set_at(one_of<std::string>({"00:00", "02:30", "09:00", "23:59:59"}));
  if (percent(25)) date_time.set_recurring("yearly");
  if (percent(70) && (!date_time.at().empty() || !date_time.recurring().empty())) {
    date_time.set_time_zone(zone_);
  }
  return date_time;
}

pb::Sequence Generator::sequence() {
  pb::Sequence sequence;
  for (int n = 2 + random_.below(3); n > 0; --n) {
    pb::SequenceStep& step = *sequence.add_steps();
    const pb::EventCondition event = condition();
    const bool first = sequence.steps_size() == 1;
    if (!first && percent(40)) {
      *step.mutable_did_not() = event;
      step.set_within(length(4));
      continue;
    }
    step.set_event(event.event());
    *step.mutable_where() = event.where();
    if (!first && percent(50)) step.set_within(length(4));
  }
  sequence.set_repeat(percent(30));
  return sequence;
}

// Of the kinds that the shape asks for. One that is defined stays live, or past behaviour.
pb::Segment Generator::other_segment(Slot slot) {
  std::vector<std::string> kinds;
  if (shape_.past) kinds.insert(kinds.end(), {"past", "past"});
  if (shape_.live) kinds.insert(kinds.end(), {"live", "live"});
  if (shape_.dates) kinds.emplace_back("date");
  if (shape_.sequences) kinds.emplace_back("sequence");
  if (const auto was = defined_.find(slot); was != defined_.end()) {
    std::erase_if(kinds, [&](const std::string& kind) {
      return (kind == "past") != was->second.has_past_behavior();
    });
  }
  const std::string kind =
      kinds[static_cast<size_t>(random_.below(static_cast<int>(kinds.size())))];
  pb::Segment out;
  if (kind == "past") {
    out.set_id(IdOf(slot));
    out.set_name(absl::StrCat("Segment ", slot));
    *out.mutable_past_behavior() = past(1, slot);
    return out;
  }
  // Exit and names as of any live segment.
  out = segment(slot);
  pb::Live live = out.live();
  if (kind != "live") {
    pb::Live other;
    if (live.has_exit()) *other.mutable_exit() = live.exit();
    if (live.has_filter()) *other.mutable_filter() = live.filter();
    live = other;
    if (kind == "date") {
      *live.mutable_date_time() = date_time();
    } else {
      *live.mutable_sequence() = sequence();
    }
  }
  if (percent(shape_.removals ? 90 : 60)) *live.mutable_filter() = past(2, slot);
  *out.mutable_live() = live;
  return out;
}

pb::Segment Generator::segment(Slot slot) {
  pb::Segment segment;
  segment.set_id(IdOf(slot));
  segment.set_name(absl::StrCat("Segment ", slot));
  pb::Live& live = *segment.mutable_live();
  const int kind = random_.below(10);
  if (kind < 3) {
    for (int n = 1 + random_.below(2); n > 0; --n) {
      *live.mutable_actions()->add_any_of() = condition();
    }
    live.mutable_actions()->set_repeat(percent(30));
  } else if (kind < 7) {
    pb::Inaction& inaction = *live.mutable_inaction();
    *inaction.mutable_trigger() = condition();
    for (int n = 1 + random_.below(2); n > 0; --n) *inaction.add_does_not_do() = condition();
    inaction.set_within(length(4));
    inaction.set_restart(percent(30));
    if (percent(35)) inaction.set_match("m");
  } else if (kind < 8) {
    *live.mutable_page_visit()->mutable_url() = url_test({"/a", "/b"});
    live.mutable_page_visit()->set_repeat(percent(30));
  } else if (kind < 9) {
    *live.mutable_referrer()->mutable_url() = url_test({"partner", "home"});
    live.mutable_referrer()->set_repeat(percent(30));
  } else {
    pb::PageCount& count = *live.mutable_page_count();
    count.set_at_least(1 + random_.below(3));
    count.set_distinct_urls(percent(50));
    count.set_repeat(percent(30));
    if (percent(50)) {
      count.set_per("session");
    } else {
      count.set_within(length(8));
    }
  }
  if (percent(shape_.filters ? 100 : 25)) *live.mutable_filter() = filter(1);
  const int exit = random_.below(10);
  if (exit < 3) {
    live.mutable_exit()->set_after(length(4));
  } else if (exit < 5) {
    for (int n = 1 + random_.below(2); n > 0; --n) *live.mutable_exit()->add_on() = condition();
  } else if (exit < 6) {
    live.mutable_exit()->set_never(true);
  }
  return segment;
}

// Also several dates, dates of other years, and dates of no zone.
Datum Generator::when() {
  const auto one = [&] {
    std::string text = FormatTimestamp(moment());
    if (percent(30)) text.pop_back();
    if (percent(30)) text = one_of<std::string>({"2024", "2025", "2027"}) + text.substr(4);
    if (percent(10)) text = "2024-02-29T12:00";
    return text;
  };
  if (percent(60)) return one();
  std::vector<Scalar> items;
  for (int n = 1 + random_.below(3); n > 0; --n) items.emplace_back(one());
  return items;
}

std::vector<Command> Generator::commands() {
  std::vector<Command> commands;
  for (int n = 1 + random_.below(2); n > 0; --n) {
    const auto property = one_of<std::string>({"u", "u", "v"});
    switch (random_.below(8)) {
      case 0:
        commands.push_back({ProfileOperation::kDelete, property, {}});
        break;
      case 1:
        commands.push_back({ProfileOperation::kAdd, property, value()});
        break;
      case 2:
        commands.push_back({ProfileOperation::kRemove, property, value()});
        break;
      case 3:
        commands.push_back({ProfileOperation::kIncrement, property, 1.0});
        break;
      case 4:
        commands.push_back({ProfileOperation::kDecrement, property, 1.0});
        break;
      case 5:
        commands.push_back(
            {ProfileOperation::kSet, "when", FormatTimestamp(start_ + units(random_.below(30)))});
        if (mixed() && percent(50)) commands.back().value = when();
        break;
      default:
        commands.push_back({ProfileOperation::kSet, property, value()});
        break;
    }
  }
  return commands;
}

Record Generator::record() {
  Record record;
  record.user = random_.below(history_.users);
  record.name = one_of<std::string>({"A", "A", "B", "B", "C", "Page Viewed", "Page Viewed", "D"});
  if (record.name == kPageViewed) {
    if (percent(95)) {
      record.properties["url"] =
          one_of<std::string>({"https://home.example/a", "https://www.home.example/b",
                               "https://home.example:8443/a/b", "http://other.example"});
    }
    if (percent(80)) {
      record.properties["referrer"] =
          one_of<std::string>({"https://partner.example/x", "https://WWW.Home.example/a",
                               "https://partner.example", "android-app", ""});
    }
  }
  if (percent(70)) record.properties["p"] = value();
  if (common() && percent(50)) record.properties["context.os"] = value();
  if (percent(30)) record.properties["q"] = value();
  if (percent(80)) record.properties["m"] = 1.0 + random_.below(3);
  if (mixed() && percent(80)) {
    record.properties["n"] = percent(90) ? Datum((random_.below(8) - 2) * 0.5) : value();
  }
  if (percent(shape_.filters || shape_.dates ? 50 : mixed() ? 25 : 15)) record.profile = commands();
  if (percent(5)) {
    record.name.clear();
    record.properties.clear();
    record.profile = commands();
  }
  return record;
}

// Units of hours and days, near a change of daylight saving or of the year.
void Generator::choose_time() {
  unit_ = one_of({unit_, Duration::Hours(1), Duration::Hours(6), Duration::Hours(24)});
  struct Change {
    const char* zone;
    const char* at;
  };
  const auto change = one_of<Change>({{"Europe/Berlin", "2026-03-29T01:00"},
                                      {"Europe/Berlin", "2026-10-25T01:00"},
                                      {"America/New_York", "2026-03-08T07:00"},
                                      {"America/New_York", "2026-11-01T06:00"},
                                      {"America/Havana", "2026-03-08T05:00"},
                                      {"Atlantic/Azores", "2026-10-25T01:00"},
                                      {"Africa/Cairo", "2026-04-23T22:00"},
                                      {"Australia/Lord_Howe", "2026-04-04T15:00"},
                                      {"Australia/Lord_Howe", "2026-10-03T15:30"},
                                      {"Asia/Kolkata", "2026-12-31T18:30"},
                                      {"Pacific/Kiritimati", "2026-02-28T10:00"}});
  zone_ = change.zone;
  Time at;
  ParseTimestamp(change.at, &at);
  start_ = at - units(random_.below(12));
  if (percent(30)) start_ = start_ - Duration::Minutes(int64_t{30} * random_.below(24));
}

History Generator::run() {
  Settings& settings = history_.settings;
  history_.users = 1 + random_.below(3);
  // Sessions end after 30 min whatever the unit is.
  unit_ = one_of({Duration::Minutes(10), Duration::Minutes(10), Duration::Seconds(2)});
  if (mixed()) choose_time();
  settings.max_lateness = percent(40) ? Duration::Hours(2) : units(1 + random_.below(10));
  if (shape_.little_lateness) settings.max_lateness = units(1 + random_.below(4));
  settings.deadline_grace = one_of({Duration::Seconds(1), units(1)});
  if (shape_.never_too_late || percent(85)) {
    settings.deadline_grace = std::min(settings.deadline_grace, settings.max_lateness);
  }

  // Nothing comes too late in order.
  if (mixed() && shape_.in_order) {
    settings.deadline_grace = std::min(settings.deadline_grace, settings.max_lateness);
  }

  const int segments = shape_.removals ? kSlots : 1 + random_.below(3);
  const auto next = [&](Slot slot) { return mixed() ? other_segment(slot) : segment(slot); };
  for (Slot slot = 0; slot < static_cast<Slot>(segments); ++slot) {
    defined_[slot] = next(slot);
    history_.items.push_back(
        {.kind = Item::Kind::kDefine, .slot = slot, .segment = defined_[slot]});
  }

  struct Arrival {
    Time when;
    Record record;
  };
  std::vector<Arrival> arrivals;
  Time time = start_;
  const int records = 1 + random_.below(shape_.most_records);
  const int delayed = shape_.in_order ? 0 : one_of({0, 10, 40, 80});
  const int64_t lateness = settings.max_lateness.millis();
  for (int i = 0; i < records; ++i) {
    time = time + units(one_of({0, 0, 0, 1, 1, 1, 1, 2, 2, 3, 4}));
    if (percent(2)) time = time + units(20);
    Record one = record();
    one.time = time;
    if (percent(10)) one.time = one.time + Duration::Millis(one_of({-1, 1}));
    if (!arrivals.empty() && shape_.in_order) one.time = std::max(one.time, time - units(1));
    one.record_time = one.time;
    if (percent(30)) one.message_id = absl::StrCat("m", i);
    Duration delay;
    if (percent(30)) delay = settings.deadline_grace;
    if (percent(delayed)) {
      const int64_t most = shape_.never_too_late ? lateness : lateness + lateness / 4 + 1;
      const int64_t unit = unit_.millis();
      delay = percent(70) ? Duration::Millis(std::min(
                                random_.below(static_cast<int>(most / unit) + 1) * unit, most))
                          : Duration::Millis(static_cast<int64_t>(random_.next() %
                                                                  static_cast<uint64_t>(most + 1)));
    }
    arrivals.push_back({one.time + delay, one});
    if (shape_.duplicates && percent(20)) {
      if (percent(90)) arrivals.back().record.message_id = absl::StrCat("m", i);
      const Duration later = one_of(
          {Duration(), units(1), units(3), settings.max_lateness, Duration::Millis(lateness + 1)});
      arrivals.push_back({one.time + delay + later, arrivals.back().record});
    }
  }
  if (shape_.in_order) {
    // The clock before a record may not pass its time: sort by time, and let record times follow.
    std::stable_sort(arrivals.begin(), arrivals.end(), [](const Arrival& a, const Arrival& b) {
      return a.record.time < b.record.time;
    });
  } else {
    std::stable_sort(arrivals.begin(), arrivals.end(),
                     [](const Arrival& a, const Arrival& b) { return a.when < b.when; });
  }

  Time newest_record = Time::Min();
  Time newest_event = Time::Min();
  Time clock = Time::Min();
  for (size_t i = 0; i < arrivals.size(); ++i) {
    Record& one = arrivals[i].record;
    one.record_time = arrivals[i].when;
    if (shape_.producer_times) {
      if (percent(30)) one.record_time = one.time + units(random_.below(8));
    } else {
      one.record_time = std::max(newest_record, one.record_time);
      // A history knows a duplicate by another record time.
      if (mixed() && shape_.edits && !shape_.in_order && one.record_time == newest_record) {
        one.record_time = one.record_time + Duration::Millis(1);
      }
    }
    // An event may be ahead of its record time.
    const int ahead = shape_.little_lateness || shape_.ahead ? 20 : shape_.never_too_late ? 0 : 5;
    if (!shape_.in_order && percent(ahead)) {
      one.time = one.record_time + units(1 + random_.below(3));
    }
    const Time reached =
        newest_record == Time::Min() ? Time::Min() : newest_record - settings.deadline_grace;
    if (shape_.in_order) {
      if (percent(50)) clock = std::max(clock, one.time - units(random_.below(3)));
    } else {
      if (percent(60)) clock = std::max(clock, reached);
      // Silence before the record: the clock follows the wall.
      if (percent(20)) clock = std::max(clock, one.record_time - settings.deadline_grace);
      if (shape_.producer_times && percent(15)) {
        clock = std::max(clock, one.record_time + units(random_.below(6)));
      }
    }
    const Time newest_before = newest_record;
    newest_record = std::max(newest_record, one.record_time);

    // Users wait for their turn until then.
    if (percent(shape_.removals ? 3 : 15)) {
      history_.items.push_back({.kind = Item::Kind::kAdvance, .clock = clock});
    }
    const auto restart = [&](int often) {
      if (!percent(often)) return;
      history_.items.push_back(
          {.kind = Item::Kind::kRestart, .clock = clock, .amid_turns = percent(70)});
    };
    restart(4);
    // Several between two records, at one reading of the clock.
    for (bool more = shape_.edits && percent(12); more; more = percent(25)) {
      const auto slot = static_cast<Slot>(random_.below(kSlots));
      // A task has read records before it has a clock.
      const Time at = clock == Time::Min() ? one.record_time - units(1) : clock;
      clock = at;
      // What counts from later on than a turn, or is a date between the clock and the user's now,
      // is not as F has it.
      if (mixed() && !shape_.ahead) clock = std::max(clock, newest_event);
      if (mixed() && !shape_.in_order) clock = std::max(clock, newest_before);
      // Whoever refers to it.
      if (defined_.contains(slot) && percent(shape_.removals ? 50 : 25)) {
        defined_.erase(slot);
        history_.items.push_back({.kind = Item::Kind::kDelete, .clock = clock, .slot = slot});
      } else {
        const pb::Segment segment = next(slot);
        defined_[slot] = segment;
        history_.items.push_back(
            {.kind = Item::Kind::kDefine, .clock = clock, .slot = slot, .segment = segment});
      }
      restart(10);
    }
    history_.items.push_back({.kind = Item::Kind::kRecord, .clock = clock, .record = one});
    newest_event = std::max(newest_event, one.time);
  }
  const Time end = std::max(newest_record, time) + units(random_.below(12));
  history_.items.push_back({.kind = Item::Kind::kAdvance, .clock = std::max(clock, end)});
  return std::move(history_);
}

}  // namespace

uint64_t Random::next() {
  state_ += 0x9e3779b97f4a7c15;
  uint64_t x = state_;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

History InOrder(const History& history) {
  History out = history;
  out.items.clear();
  std::vector<Item> records;
  for (const Item& item : history.items) {
    if (item.kind == Item::Kind::kDefine) out.items.push_back(item);
    if (item.kind == Item::Kind::kRecord) records.push_back(item);
  }
  std::stable_sort(records.begin(), records.end(),
                   [](const Item& a, const Item& b) { return a.record.time < b.record.time; });
  for (Item& item : records) {
    item.clock = Time::Min();
    item.record.record_time = item.record.time;
    out.items.push_back(std::move(item));
  }
  out.items.push_back(history.items.back());
  return out;
}

History Generate(uint64_t seed, const Shape& shape) {
  return Generator(seed, shape).run();
}

}  // namespace segmentd::property

#include "tests/property/generate.h"

#include <algorithm>
#include <cstddef>
#include <initializer_list>
#include <set>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"

namespace segmentd::property {
namespace {

namespace pb = segments::v1;

// 2026-03-01T12:00Z.
constexpr Time kStart = Time::Millis(1'772'366'400'000);

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
  pb::PropertyCondition test(const std::string& property);
  pb::PropertyCondition url_test(std::initializer_list<std::string> parts);
  pb::EventCondition condition();
  pb::Expression filter(int depth);
  pb::Segment segment(Slot slot);
  Record record();
  std::vector<Command> commands();

  Random random_;
  Shape shape_;
  Duration unit_;
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
  switch (random_.below(16)) {
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
    if (percent(50)) {
      e.mutable_property()->set_within_last(length(3));
    } else {
      e.mutable_property()->set_within_next(length(3));
    }
  } else {
    *e.mutable_property() = test(one_of<std::string>({"u", "u", "v"}));
  }
  return e;
}

pb::Segment Generator::segment(Slot slot) {
  pb::Segment segment;
  segment.set_id(absl::StrCat("s", slot));
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
            {ProfileOperation::kSet, "when", FormatTimestamp(kStart + units(random_.below(30)))});
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
  if (percent(30)) record.properties["q"] = value();
  if (percent(80)) record.properties["m"] = 1.0 + random_.below(3);
  if (percent(shape_.filters ? 50 : 15)) record.profile = commands();
  if (percent(5)) {
    record.name.clear();
    record.properties.clear();
    record.profile = commands();
  }
  return record;
}

History Generator::run() {
  Settings& settings = history_.settings;
  history_.users = 1 + random_.below(3);
  // Sessions end after 30 min whatever the unit is.
  unit_ = one_of({Duration::Minutes(10), Duration::Minutes(10), Duration::Seconds(2)});
  settings.max_lateness = percent(40) ? Duration::Hours(2) : units(1 + random_.below(10));
  if (shape_.little_lateness) settings.max_lateness = units(1 + random_.below(4));
  settings.deadline_grace = one_of({Duration::Seconds(1), units(1)});
  if (shape_.never_too_late || percent(85)) {
    settings.deadline_grace = std::min(settings.deadline_grace, settings.max_lateness);
  }

  const int segments = 1 + random_.below(3);
  std::set<Slot> defined;
  for (Slot slot = 0; slot < static_cast<Slot>(segments); ++slot) {
    history_.items.push_back({.kind = Item::Kind::kDefine, .slot = slot, .segment = segment(slot)});
    defined.insert(slot);
  }

  struct Arrival {
    Time when;
    Record record;
  };
  std::vector<Arrival> arrivals;
  Time time = kStart;
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
  Time clock = Time::Min();
  for (size_t i = 0; i < arrivals.size(); ++i) {
    Record& one = arrivals[i].record;
    one.record_time = arrivals[i].when;
    if (shape_.producer_times) {
      if (percent(30)) one.record_time = one.time + units(random_.below(8));
    } else {
      one.record_time = std::max(newest_record, one.record_time);
    }
    // An event may be ahead of its record time.
    if (!shape_.in_order && !shape_.never_too_late && percent(shape_.little_lateness ? 20 : 5)) {
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
    newest_record = std::max(newest_record, one.record_time);

    if (percent(15)) history_.items.push_back({.kind = Item::Kind::kAdvance, .clock = clock});
    if (percent(4)) history_.items.push_back({.kind = Item::Kind::kRestart, .clock = clock});
    if (shape_.edits && percent(12)) {
      const auto slot = static_cast<Slot>(random_.below(4));
      // A task has read records before it has a clock.
      const Time at = clock == Time::Min() ? one.record_time - units(1) : clock;
      clock = at;
      if (defined.contains(slot) && percent(25)) {
        defined.erase(slot);
        history_.items.push_back({.kind = Item::Kind::kDelete, .clock = at, .slot = slot});
      } else {
        defined.insert(slot);
        history_.items.push_back(
            {.kind = Item::Kind::kDefine, .clock = at, .slot = slot, .segment = segment(slot)});
      }
    }
    history_.items.push_back({.kind = Item::Kind::kRecord, .clock = clock, .record = one});
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

#include "tests/property/oracle.h"

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <memory>
#include <string_view>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/string_view.h"
#include "re2/re2.h"

namespace segmentd::property {
namespace {

namespace pb = segments::v1;

Duration Length(const std::string& text) {
  const auto parsed = ParseDuration(text);
  if (!parsed.ok()) std::abort();
  return *parsed;
}

// -- Conditions -----------------------------------------------------------------------------------

bool IsTrueOf(const pb::PropertyCondition& c, const Scalar& value, Time now) {
  // -1, 0, 1, or nothing where the types differ.
  const auto fold = [&](std::string text) {
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
  if (original == nullptr) return false;
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

bool IsTrueOf(const pb::PropertyCondition& c, const Datum& value, Time now) {
  const bool missing = std::holds_alternative<std::monostate>(value);
  if (c.has_exists()) return c.exists() != missing;
  if (missing) return false;
  if (const auto* list = std::get_if<std::vector<Scalar>>(&value)) {
    return std::any_of(list->begin(), list->end(),
                       [&](const Scalar& item) { return IsTrueOf(c, item, now); });
  }
  if (const auto* text = std::get_if<std::string>(&value)) return IsTrueOf(c, Scalar(*text), now);
  if (const auto* n = std::get_if<double>(&value)) return IsTrueOf(c, Scalar(*n), now);
  return IsTrueOf(c, Scalar(std::get<bool>(value)), now);
}

Datum Get(const std::map<std::string, Datum>& properties, const std::string& name) {
  const auto at = properties.find(name);
  return at == properties.end() ? Datum() : at->second;
}

bool Meets(const Record& record, const pb::EventCondition& condition) {
  return record.name == condition.event() &&
         std::all_of(condition.where().begin(), condition.where().end(), [&](const auto& test) {
           return IsTrueOf(test, Get(record.properties, test.property()), record.time);
         });
}

template <typename Conditions>
bool MeetsAny(const Record& record, const Conditions& conditions) {
  return std::any_of(conditions.begin(), conditions.end(),
                     [&](const auto& condition) { return Meets(record, condition); });
}

bool Holds(const pb::Expression& e, const std::map<std::string, Datum>& profile, Time now) {
  const auto holds = [&](const pb::Expression& part) { return Holds(part, profile, now); };
  if (e.has_property()) return IsTrueOf(e.property(), Get(profile, e.property().property()), now);
  if (e.has_not_()) return !holds(e.not_());
  if (e.all_of_size() > 0) return std::all_of(e.all_of().begin(), e.all_of().end(), holds);
  if (e.any_of_size() > 0) return std::any_of(e.any_of().begin(), e.any_of().end(), holds);
  std::abort();
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

std::vector<Scalar> Items(const Datum& value) {
  if (const auto* list = std::get_if<std::vector<Scalar>>(&value)) return *list;
  if (const auto* text = std::get_if<std::string>(&value)) return {*text};
  if (const auto* number = std::get_if<double>(&value)) return {*number};
  if (const auto* boolean = std::get_if<bool>(&value)) return {*boolean};
  return {};
}

struct Properties {
  struct Newest {
    EventOrder absolute;
    EventOrder any;
  };
  std::map<std::string, Datum> values;
  std::map<std::string, Newest> newest;

  void apply(const Command& command, EventOrder order) {
    Datum& value = values[command.property];
    Newest& last = newest[command.property];
    const bool absolute = command.operation == ProfileOperation::kSet ||
                          command.operation == ProfileOperation::kDelete;
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
};

}  // namespace

// -- F --------------------------------------------------------------------------------------------

Oracle::Outlook Oracle::look(const User& user, Slot slot, Time upto) const {
  const Version& version = versions_.at(slot);
  const pb::Live& live = version.segment.live();
  const Start start = user.starts.contains(slot) ? user.starts.at(slot) : Start();
  const bool has_after = live.exit().has_after();
  const auto after = [&](Time time) { return time + Length(live.exit().after()); };

  Outlook out;
  out.member = start.member;
  out.joined_by = start.joined_by;
  out.since = start.since;
  Time exit_at = Time::Max();
  // A membership taken over counts as qualified at the activation.
  Time qualified = start.member ? start.activated : Time::Min();
  if (start.member && has_after) exit_at = after(qualified);
  // The event behind the membership.
  std::string cause;
  Time cause_at;

  struct Pending {
    Datum value;
    Time at;
    Time due;
  };
  // In the order of their triggers.
  std::vector<Pending> pendings;
  struct Page {
    Time time;
    Datum url;
  };
  std::vector<Page> pages;
  Properties profile;

  const auto filter_holds = [&](Time now) {
    return !live.has_filter() || Holds(live.filter(), profile.values, now);
  };
  const auto tell = [&](Action action, Time at, Reason reason, const std::string& event,
                        Time event_at, const std::string& id) {
    if (action != pb::QUALIFIED) out.since = at;
    out.changes.push_back({action, slot, at, reason, event, event_at, id});
  };
  const auto leave = [&] {
    out.member = false;
    out.joined_by = Datum();
    qualified = Time::Min();
    exit_at = Time::Max();
  };
  const auto next_due = [&] {
    Time due = exit_at;
    for (const Pending& pending : pendings) due = std::min(due, pending.due);
    return due;
  };

  // All deadlines of one moment are one step, judged on the state just before it.
  const auto fire = [&](Time now) {
    out.decided = now;
    const bool was_member = out.member;
    if (exit_at == now) {
      tell(pb::REMOVE, now, pb::EXPIRED, cause, cause_at, "");
      leave();
    }
    std::optional<Pending> joins;
    for (const Pending& pending : pendings) {
      if (pending.due == now && !joins.has_value()) joins = pending;
    }
    std::erase_if(pendings, [&](const Pending& pending) { return pending.due == now; });
    if (!joins.has_value() || was_member || !filter_holds(now)) return;
    cause = live.inaction().trigger().event();
    cause_at = joins->at;
    out.member = true;
    out.joined_by = joins->value;
    if (has_after) exit_at = after(now);
    tell(pb::ADD, now, pb::INACTION, cause, cause_at, "");
  };

  const auto qualify = [&](const Record& record, bool repeat) {
    if (!filter_holds(record.time)) return;
    cause = record.name;
    cause_at = record.time;
    qualified = std::max(qualified, record.time);
    if (has_after) exit_at = after(qualified);
    if (!out.member) {
      out.member = true;
      tell(pb::ADD, record.time, pb::TRIGGER, cause, cause_at, record.message_id);
    } else if (repeat) {
      tell(pb::QUALIFIED, record.time, pb::TRIGGER, cause, cause_at, record.message_id);
    }
  };
  const auto exits = [&](const Record& record) {
    tell(pb::REMOVE, record.time, pb::EXIT_EVENT, record.name, record.time, record.message_id);
    leave();
  };

  const auto step = [&](const Record& record) {
    const bool leaves_on = out.member && MeetsAny(record, live.exit().on());

    if (live.has_inaction()) {
      const auto& inaction = live.inaction();
      const bool match = !inaction.match().empty();
      const Datum value = match ? Get(record.properties, inaction.match()) : Datum();
      const bool takes_part = !match || !std::holds_alternative<std::monostate>(value);
      const bool cancels = takes_part && MeetsAny(record, inaction.does_not_do());
      // Taken over from a version that joined by no value.
      const bool joined_by_any = std::holds_alternative<std::monostate>(out.joined_by);
      if (leaves_on || (out.member && !live.has_exit() && cancels &&
                        (!match || joined_by_any || value == out.joined_by))) {
        exits(record);
      }
      if (cancels) {
        std::erase_if(pendings, [&](const Pending& p) { return !match || p.value == value; });
      }
      if (takes_part && !out.member && Meets(record, inaction.trigger())) {
        const auto same = std::find_if(pendings.begin(), pendings.end(),
                                       [&](const Pending& p) { return p.value == value; });
        if (same != pendings.end() && !inaction.restart()) return;
        if (same != pendings.end()) pendings.erase(same);
        if (pendings.size() == 25) pendings.erase(pendings.begin());
        pendings.push_back({value, record.time, record.time + Length(inaction.within())});
      }
      return;
    }

    bool qualifies = false;
    bool repeat = false;
    if (live.has_actions()) {
      qualifies = MeetsAny(record, live.actions().any_of());
      repeat = live.actions().repeat();
    } else if (record.name == kPageViewed) {
      const Datum url = Get(record.properties, "url");
      const Datum referrer = Get(record.properties, "referrer");
      if (live.has_page_visit()) {
        qualifies = IsTrueOf(live.page_visit().url(), url, record.time);
        repeat = live.page_visit().repeat();
      } else if (live.has_referrer()) {
        const bool first =
            pages.empty() || record.time - pages.back().time >= Duration::Minutes(30);
        const bool external = !Host(referrer).empty() && Host(referrer) != Host(url);
        qualifies = first && external && IsTrueOf(live.referrer().url(), referrer, record.time);
        repeat = live.referrer().repeat();
        pages.push_back({record.time, url});
      } else {
        const auto& count = live.page_count();
        repeat = count.repeat();
        pages.push_back({record.time, url});
        std::vector<Page> counted;
        for (size_t i = pages.size(); i-- > 0;) {
          const bool in_session =
              i + 1 == pages.size() || pages[i + 1].time - pages[i].time < Duration::Minutes(30);
          const bool in_window =
              !count.within().empty() && record.time - Length(count.within()) < pages[i].time;
          if (count.within().empty() ? !in_session : !in_window) break;
          const bool again = std::any_of(counted.begin(), counted.end(), [&](const Page& page) {
            return page.url == pages[i].url;
          });
          const bool has_url = !std::holds_alternative<std::monostate>(pages[i].url);
          if (!count.distinct_urls() || (has_url && !again)) counted.push_back(pages[i]);
        }
        qualifies = static_cast<int64_t>(counted.size()) >= count.at_least();
      }
    }
    // An event that both exits and qualifies leaves a member a member.
    qualifies = qualifies && filter_holds(record.time);
    if (leaves_on && !qualifies) exits(record);
    if (qualifies) qualify(record, repeat);
  };

  for (const Entry& entry : user.entries) {
    if (entry.place > upto) break;
    while (next_due() <= entry.place) fire(next_due());
    for (const Command& command : entry.record.profile) {
      profile.apply(command, {entry.record.time, entry.offset});
    }
    if (entry.too_late || entry.offset < version.offset) continue;
    const size_t before = out.changes.size();
    step(entry.record);
    for (size_t i = before; i < out.changes.size(); ++i) out.changes[i].offset = entry.offset;
  }
  while (next_due() <= upto) fire(next_due());
  out.next_deadline = next_due();
  return out;
}

// -- What is told ---------------------------------------------------------------------------------

Oracle::Oracle(const Settings& settings, int users)
    : settings_(settings), users_(static_cast<size_t>(users)) {}

void Oracle::define(Slot slot, const pb::Segment& segment, Offset offset, Time clock) {
  for (User& user : users_) {
    Start start;
    start.activated = std::max(clock, user.newest.value_or(clock));
    if (versions_.contains(slot)) {
      const Outlook before = look(user, slot, user.now);
      start.member = before.member;
      start.joined_by = before.joined_by;
      start.since = before.since;
    }
    user.starts[slot] = start;
    user.told[slot] = 0;
    user.member[slot] = start.member;
  }
  const pb::Live& live = segment.live();
  const bool ever_qualified = (live.has_actions() || live.has_page_visit()) && !live.has_filter() &&
                              !live.exit().has_after() && live.exit().on_size() == 0;
  const bool knew = !versions_.contains(slot) || versions_.at(slot).knows_since;
  versions_[slot] = {segment, offset, knew && !ever_qualified};
}

void Oracle::erase(Slot slot) {
  if (!versions_.contains(slot)) return;
  for (User& user : users_) {
    if (look(user, slot, user.now).member) user.leaving.insert(slot);
    user.starts.erase(slot);
    user.told.erase(slot);
    user.member.erase(slot);
  }
  versions_.erase(slot);
}

std::optional<Told> Oracle::leave(int index, Slot slot, Time clock) {
  User& user = users_[static_cast<size_t>(index)];
  if (user.leaving.erase(slot) == 0) return std::nullopt;
  return Told{
      pb::REMOVE, slot, std::max(clock, user.newest.value_or(clock)), pb::SEGMENT_DELETED, "",
      Time(),     ""};
}

Time Oracle::since(int index, Slot slot) const {
  const User& user = users_[static_cast<size_t>(index)];
  return look(user, slot, user.now).since.value_or(Time::Min());
}

std::vector<Slot> Oracle::slots() const {
  std::vector<Slot> slots;
  for (const auto& [slot, version] : versions_) slots.push_back(slot);
  return slots;
}

Time Oracle::next_deadline(int index) const {
  const User& user = users_[static_cast<size_t>(index)];
  Time next = Time::Max();
  for (const auto& [slot, version] : versions_) {
    next = std::min(next, look(user, slot, user.now).next_deadline);
  }
  return next;
}

bool Oracle::member(int index, Slot slot) const {
  const User& user = users_[static_cast<size_t>(index)];
  return look(user, slot, user.now).member;
}

std::vector<Told> Oracle::changes(int index, Slot slot) const {
  const User& user = users_[static_cast<size_t>(index)];
  return look(user, slot, user.now).changes;
}

void Oracle::tell(User* user, std::vector<Told>* out) {
  for (const auto& [slot, version] : versions_) {
    const Outlook outlook = look(*user, slot, user->now);
    size_t& told = user->told[slot];
    for (; told < outlook.changes.size(); ++told) out->push_back(outlook.changes[told]);
    user->member[slot] = outlook.member;
    user->decided = std::max(user->decided, outlook.decided);
  }
  std::stable_sort(out->begin(), out->end(),
                   [](const Told& a, const Told& b) { return a.at < b.at; });
}

void Oracle::correct(User* user, const Entry& event, std::vector<Told>* out) {
  for (const auto& [slot, version] : versions_) {
    const Outlook outlook = look(*user, slot, user->now);
    user->decided = std::max(user->decided, outlook.decided);
    for (const Told& change : outlook.changes) {
      if (change.offset == event.offset && change.action == pb::QUALIFIED && outlook.member &&
          user->member[slot]) {
        out->push_back(change);
        out->back().reason = pb::LATE_EVENT;
      }
    }
    if (outlook.member != user->member[slot]) {
      const Time at = outlook.since.value_or(event.record.time);
      out->push_back({outlook.member ? pb::ADD : pb::REMOVE, slot, at, pb::LATE_EVENT,
                      event.record.name, event.record.time, event.record.message_id});
    }
    user->told[slot] = outlook.changes.size();
    user->member[slot] = outlook.member;
  }
}

std::vector<Told> Oracle::advance(int index, Time clock) {
  User& user = users_[static_cast<size_t>(index)];
  user.now = std::max(user.now, clock);
  std::vector<Told> out;
  tell(&user, &out);
  return out;
}

bool Oracle::meets_any_condition(const Record& record) const {
  for (const auto& [slot, version] : versions_) {
    const pb::Live& live = version.segment.live();
    if (MeetsAny(record, live.exit().on())) return true;
    if (MeetsAny(record, live.actions().any_of())) return true;
    if (MeetsAny(record, live.inaction().does_not_do())) return true;
    if (live.has_inaction() && Meets(record, live.inaction().trigger())) return true;
    if (record.name != kPageViewed) continue;
    if (live.has_referrer() || live.has_page_count()) return true;
    if (live.has_page_visit() &&
        IsTrueOf(live.page_visit().url(), Get(record.properties, "url"), record.time)) {
      return true;
    }
  }
  return false;
}

Oracle::Verdict Oracle::apply(const Record& record, Offset offset, Time clock) {
  User& user = users_[static_cast<size_t>(record.user)];
  std::vector<Told> out =
      advance(record.user, std::max(clock, record.record_time - settings_.deadline_grace));

  for (const Time seen : user.seen[record.message_id]) {
    const bool within = record.record_time - seen <= settings_.max_lateness;
    if (!record.message_id.empty() && within) return {Outcome::kDuplicate, std::move(out)};
  }
  Entry entry{record, offset, record.time, false};
  const Time newest = user.newest.value_or(record.time);
  entry.too_late = record.record_time - record.time > settings_.max_lateness ||
                   newest - record.time > settings_.max_lateness;
  // Remembered is what had an effect: of an event that came too late, only its profile commands
  // have.
  if (!record.profile.empty() || (!entry.too_late && meets_any_condition(record))) {
    user.seen[record.message_id].push_back(record.record_time);
  }
  if (entry.too_late) entry.place = std::max(record.record_time, newest);
  const bool late = !entry.too_late && (record.time < newest || record.time < user.decided);

  if (!late) {
    for (Told& told : advance(record.user, record.time)) out.push_back(std::move(told));
  }
  user.newest = std::max(newest, record.time);
  user.entries.push_back(entry);
  std::stable_sort(user.entries.begin(), user.entries.end(), [](const Entry& a, const Entry& b) {
    return std::pair(a.place, a.offset) < std::pair(b.place, b.offset);
  });
  if (late || entry.too_late) {
    correct(&user, entry, &out);
    return {late ? Outcome::kLate : Outcome::kTooLate, std::move(out)};
  }
  tell(&user, &out);
  return {Outcome::kApplied, std::move(out)};
}

}  // namespace segmentd::property

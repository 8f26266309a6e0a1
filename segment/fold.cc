#include "segment/fold.h"

#include <algorithm>
#include <bit>
#include <cassert>
#include <cstdint>

#include "segment/absl_view.h"

namespace segmentd {
namespace {

SegmentState& FindOrAdd(FoldState& state, const Rule& rule) {
  bool added = false;
  SegmentState& segment = state.segments.find_or_add(rule.slot, &added);
  if (added) {
    segment.version = rule.version;
    segment.built = rule.built;
  }
  return segment;
}

// Occurrences of these kinds fall due.
bool Waits(Rule::Kind kind) {
  return kind == Rule::Kind::kInaction || kind == Rule::Kind::kDateTime ||
         kind == Rule::Kind::kSequence;
}

bool Runs(const Rule& rule, const SegmentState& segment) {
  return rule.runs && segment.version == rule.version && segment.built;
}

Time Due(const Rule& rule, const SegmentState& segment) {
  if (!Runs(rule, segment)) return Time::Max();
  Time due = segment.member || rule.kind == Rule::Kind::kPast ? segment.exit_at : Time::Max();
  if (Waits(rule.kind)) {
    for (const Occurrence& occurrence : segment.memory->occurrences) {
      due = std::min(due, occurrence.due);
    }
  }
  return due;
}

std::string_view TriggerName(const Rule& rule, uint8_t trigger) {
  return trigger < rule.triggers.size() ? std::string_view(rule.triggers[trigger])
                                        : std::string_view();
}

}  // namespace

bool SaysNothing(const Rule& rule, const SegmentState& segment) {
  if (rule.kind != Rule::Kind::kPast && rule.kind != Rule::Kind::kDateTime) return false;
  // Until the rule is built for everybody, the state says that the user had their turn.
  if (!rule.runs || !rule.built || !segment.memory->measures.empty()) return false;
  SegmentState nothing;
  nothing.slot = segment.slot;
  nothing.version = rule.version;
  return segment == nothing;
}

Fold::Fold(const RuleSet::Compiled& rules)
    : rules_(&rules),
      places_(rules.rules.size()),
      concerned_(rules.rules.size(), 0),
      turns_(rules.rules.size()) {}

void Fold::restrict(const std::vector<const Atom*>& atoms,
                    absl::Span<const ProfileCommand> profile) {
  std::fill(concerned_.begin(), concerned_.end(), 0);
  std::vector<Slot> slots;
  for (const Atom* atom : atoms) {
    for (const Subscription& subscription : atom->subscriptions) concern(subscription.slot, slots);
  }
  for (const ProfileCommand& command : profile) {
    const auto it = rules_->readers.find(AbslView(command.property));
    if (it == rules_->readers.end()) continue;
    for (Slot slot : it->second) concern(slot, slots);
  }
  for (size_t i = 0; i < slots.size(); ++i) {
    for (Slot slot : rules_->rules[slots[i]].outer) concern(slot, slots);
  }
  restrict_to(std::move(slots));
}

void Fold::restrict(absl::Span<const Slot> of) {
  std::fill(concerned_.begin(), concerned_.end(), 0);
  std::vector<Slot> slots;
  for (Slot slot : of) concern(slot, slots);
  restrict_to(std::move(slots));
}

void Fold::concern(Slot slot, std::vector<Slot>& slots) {
  if (concerned_[slot]) return;
  concerned_[slot] = 1;
  slots.push_back(slot);
}

void Fold::restrict_to(std::vector<Slot> slots) {
  for (size_t i = 0; i < slots.size(); ++i) {
    for (Slot slot : rules_->rules[slots[i]].inner) concern(slot, slots);
  }
  reads_profile_ = std::any_of(slots.begin(), slots.end(),
                               [&](Slot slot) { return rules_->rules[slot].reads_profile; });
  restricted_ = true;
}

void Fold::begin_step() {
  for (const Touch& touch : touched_) places_[touch.slot].touched = 0;
  touched_.clear();
  counted_.clear();
  wrote_ = false;
}

SegmentState* Fold::find(FoldState& state, Slot slot) {
  SegmentStates& segments = state.segments;
  uint32_t& at = places_[slot].state;
  if (at < segments.size() && segments[at].slot == slot) return &segments[at];
  SegmentState* segment = segments.find(slot);
  if (segment != nullptr) at = static_cast<uint32_t>(segment - &segments[0]);
  return segment;
}

Fold::Touch& Fold::touch(Slot slot) {
  uint32_t& touched = places_[slot].touched;
  if (touched == 0) {
    touched_.emplace_back().slot = slot;
    touched = static_cast<uint32_t>(touched_.size());
  }
  return touched_[touched - 1];
}

void Fold::hit(const Atom& atom, uint64_t value, EventOrder order, Time at, Among among) {
  for (const Subscription& subscription : atom.subscriptions) {
    if (!concerns(subscription.slot)) continue;
    const Rule& rule = rules_->rules[subscription.slot];
    if (subscription.roles == kMeasured) {
      if (order.offset < rule.history_offset || among == Among::kOrderFree || !rule.runs) continue;
      counted_.push_back({subscription.slot, subscription.measure, at, value});
      touch(subscription.slot).roles |= kMeasured;
      continue;
    }
    if (at < order.time || order.offset < rule.activation_offset) continue;
    if (order.offset < settled_.before && rule.follows) continue;
    if (among != Among::kAll && rule.order_free != (among == Among::kOrderFree)) continue;
    Touch& touch = this->touch(subscription.slot);
    touch.roles |= subscription.roles;
    const auto bit = static_cast<uint16_t>(1U << subscription.trigger);
    if (subscription.roles & kTriggers) {
      touch.trigger = std::min(touch.trigger, subscription.trigger);
      touch.events |= bit;
    }
    if (subscription.roles & kCancels) touch.absences |= bit;
    // Atoms of one rule that need a value need the same property, and this is one event.
    if (value != 0) touch.value = value;
  }
}

void Fold::apply_writes(const std::vector<ProfileWrite>& writes, EventOrder order,
                        FoldState& state) {
  while (state.writes_applied < writes.size()) {
    const ProfileWrite& write = writes[state.writes_applied];
    if (write.effective_order() > order) return;
    ++state.writes_applied;
    if (!state.profile.apply(write)) {
      if (write.order.offset >= counted_from) ++writes_refused;
      continue;
    }
    wrote_ = true;
    const auto it = rules_->by_profile_property.find(write.property);
    if (it == rules_->by_profile_property.end()) continue;
    for (Slot slot : it->second) {
      if (concerns(slot)) touch(slot).roles |= kTouched;
    }
  }
}

void Fold::step(const FoldEvent& event, FoldState& state, Changes& out) {
  if (!state.exists) {
    state.exists = true;
    for (Slot slot : rules_->past) {
      if (concerns(slot)) touch(slot).roles |= kTouched;
    }
    for (const SegmentState& segment : state.segments) {
      if (rules_->rules[segment.slot].kind == Rule::Kind::kPast) {
        touch(segment.slot).roles |= kTouched;
      }
    }
  }
  // What is remembered is out of the cache: all is asked for before the first is needed.
  for (const Touch& touch : touched_) {
    const SegmentState* segment = find(state, touch.slot);
    if (segment != nullptr) segment->memory.prefetch();
  }
  for (const Counted& counted : counted_) {
    const Rule& rule = rules_->rules[counted.slot];
    SegmentState* found = find(state, counted.slot);
    SegmentState& segment = found != nullptr ? *found : FindOrAdd(state, rule);
    Measures& measures = segment.memory.open().measures;
    if (measures.empty()) measures.resize(rule.measures.size());
    rule.measures[counted.measure].add(counted.at, std::bit_cast<double>(counted.value),
                                       event.order.time, measures[counted.measure]);
  }
  decide({event.order.time, &event}, state, out);
}

void Fold::decide(const Moment& moment, FoldState& state, Changes& out) {
  due_before_ = Time::Max();
  due_after_ = Time::Max();
  assert(turns_.empty());
  for (const Touch& touch : touched_) turns_.add(rules_->rules[touch.slot].rank);
  for (uint32_t rank = 0; turns_.take(&rank); ++segments_decided) {
    const Slot slot = rules_->by_rank[rank];
    const Rule& rule = rules_->rules[slot];
    // A copy: others may be touched below.
    const Touch touch = this->touch(slot);
    const size_t told = out.size();
    SegmentState* segment = find(state, slot);
    if (segment != nullptr) {
      due_before_ = std::min(due_before_, segment->due);
      if (segment->memory->ahead.has_value()) {
        // At one moment the deadlines come first.
        const Time until = moment.event != nullptr ? moment.at : moment.at - Duration::Millis(1);
        take_in(rule, until, *segment);
      }
    }
    if (rule.kind == Rule::Kind::kPast) {
      evaluate(rule, touch, moment, segment, state, out);
    } else if (moment.event != nullptr) {
      step_rule(rule, touch, *moment.event, segment, state, out);
    } else {
      fire_rule(rule, moment.at, *segment, state, out);
    }
    segment = find(state, slot);
    // Of a user who is not there yet a state says that the segment is evaluated when they come.
    if (segment != nullptr && state.exists && SaysNothing(rule, *segment)) {
      state.segments.erase(rule.slot);
    } else if (segment != nullptr) {
      segment->due = Due(rule, *segment);
      due_after_ = std::min(due_after_, segment->due);
    }
    if (rule.dependents.empty()) continue;
    const auto joins_or_leaves = [](const Change& change) {
      return change.action != segments::v1::QUALIFIED;
    };
    if (std::none_of(out.begin() + static_cast<ptrdiff_t>(told), out.end(), joins_or_leaves)) {
      continue;
    }
    for (Slot outer : rule.dependents) {
      if (!concerns(outer)) continue;
      this->touch(outer).roles |= kInner;
      // After this one: its rank is higher.
      turns_.add(rules_->rules[outer].rank);
    }
  }
}

void Fold::take_in(const Rule& rule, Time until, SegmentState& segment) {
  Memory& memory = segment.memory.open();
  std::vector<Addition>& ahead = memory.ahead.open();
  auto next = ahead.begin();
  for (; next != ahead.end() && next->from <= until; ++next) {
    rule.measures[next->measure].add(next->at, next->value, until, memory.measures[next->measure]);
  }
  ahead.erase(ahead.begin(), next);
  if (ahead.empty()) memory.ahead = {};
}

int64_t Fold::take_in(Time until, FoldState& state) const {
  int64_t taken_in = 0;
  for (SegmentState& segment : state.segments) {
    const Rule& rule = rules_->rules[segment.slot];
    // What is remembered of the others stays out of the cache.
    if (rule.kind == Rule::Kind::kPast || rule.measures.empty() || !Runs(rule, segment)) continue;
    const size_t before = segment.memory->ahead->size();
    if (before == 0 || segment.memory->ahead->front().from > until) continue;
    take_in(rule, until, segment);
    taken_in += static_cast<int64_t>(before - segment.memory->ahead->size());
  }
  return taken_in;
}

void Fold::evaluate(const Rule& rule, const Touch& touch, const Moment& moment,
                    SegmentState* segment, FoldState& state, Changes& out) {
  if (segment ? !Runs(rule, *segment) : !rule.runs || !rule.built) return;
  if (rule.followed && moment.at < settled_.at) {
    if (segment == nullptr) segment = &FindOrAdd(state, rule);
    segment->exit_at = settled_.at;
    return;
  }
  if ((touch.roles & kDue) && !segment->memory->measures.empty()) {
    Measures& measures = segment->memory.open().measures;
    for (size_t i = 0; i < measures.size(); ++i) rule.measures[i].forget(moment.at, measures[i]);
  }
  Time until = Time::Max();
  const bool in = state.exists && holds({rule, segment, state, moment.at}, 0, &until);
  if (segment == nullptr) {
    if (!in && until == Time::Max()) return;
    segment = &FindOrAdd(state, rule);
  }
  segment->exit_at = until;
  if (in == segment->member) return;
  segment->member = in;
  segment->since = moment.at;
  Change change{in ? segments::v1::ADD : segments::v1::REMOVE,
                rule.slot,
                moment.at,
                in ? segments::v1::CONDITION_MET : segments::v1::CONDITION_LOST,
                {},
                Time(),
                {}};
  if (moment.built == rule.slot) {
    change.reason = moment.reason;
  } else if (moment.event != nullptr) {
    if (wrote_ && !(touch.roles & (kMeasured | kInner))) {
      change.reason = segments::v1::PROFILE_CHANGED;
    }
    change.cause_event = moment.event->name;
    change.cause_at = moment.event->at;
    change.cause_message_id = moment.event->message_id;
  } else if (moment.built == kNoSlot) {
    change.reason = segments::v1::WINDOW_SLID;
  }
  out.push_back(change);
}

void Fold::leave(const Rule& rule, const FoldEvent& event, SegmentState& segment, Changes& out) {
  segment.member = false;
  segment.since = event.order.time;
  segment.exit_at = Time::Max();
  out.push_back({segments::v1::REMOVE, rule.slot, event.order.time, segments::v1::EXIT_EVENT,
                 event.name, event.order.time, event.message_id});
}

void Fold::qualify(const Rule& rule, Time at, Reason reason, std::string_view cause, Time cause_at,
                   std::string_view message_id, SegmentState& segment, Changes& out) {
  segment.cause_at = cause_at;
  if (rule.exit == Rule::Exit::kAfter) {
    // A member taken over counts as qualified at the activation, which an event may precede.
    const Time exit_at = at + rule.exit_after;
    segment.exit_at = segment.member ? std::max(segment.exit_at, exit_at) : exit_at;
  }
  if (!segment.member) {
    segment.member = true;
    segment.since = at;
    out.push_back({segments::v1::ADD, rule.slot, at, reason, cause, cause_at, message_id});
  } else if (rule.repeat) {
    out.push_back({segments::v1::QUALIFIED, rule.slot, at, reason, cause, cause_at, message_id});
  }
}

void Fold::step_rule(const Rule& rule, const Touch& touch, const FoldEvent& event,
                     SegmentState* found, FoldState& state, Changes& out) {
  const Time at = event.order.time;
  constexpr Roles kOfEvent = kTriggers | kCancels | kExits | kIsPage | kTouched;
  if (!rule.runs || !(touch.roles & kOfEvent)) return;  // Only counted, for the filter.
  // Waits for the user's turn, which folds it.
  if (found == nullptr ? !rule.built : !found->built) return;
  if (!(touch.roles & (kTriggers | kIsPage | kTouched)) && found == nullptr) {
    return;  // Exits and cancellations mean nothing to somebody who was never in.
  }
  SegmentState& segment = found != nullptr ? *found : FindOrAdd(state, rule);
  if (rule.kind == Rule::Kind::kInaction) {
    step_inaction(rule, touch, event, segment, out);
    return;
  }
  if (rule.order_free && segment.member) return;

  bool qualifies = (touch.roles & kTriggers) != 0;
  switch (rule.kind) {
    case Rule::Kind::kActions:
    case Rule::Kind::kInaction:
    case Rule::Kind::kPast:
      break;
    case Rule::Kind::kReferrer:
      if (touch.roles & kIsPage) {
        Time& session_at = segment.memory.open().session_at;
        const bool first = session_at == Time::Min() || at >= session_at + kSessionGap;
        qualifies = qualifies && first;
        session_at = at;
      }
      break;
    case Rule::Kind::kPagesOfSession:
    case Rule::Kind::kPagesWithin:
      qualifies = (touch.roles & kIsPage) && count_page(rule, touch, at, segment);
      break;
    case Rule::Kind::kSequence:
      qualifies = step_sequence(rule, touch, at, segment);
      break;
    case Rule::Kind::kDateTime:
      if ((touch.roles & kTouched) && step_date(rule, event.order, state, segment, out)) return;
      if (segment.member && (touch.roles & kExits)) leave(rule, event, segment, out);
      return;
  }
  qualifies = qualifies && filter_holds(rule, state, segment, at);

  if (!qualifies) {
    if (segment.member && (touch.roles & kExits)) leave(rule, event, segment, out);
    return;
  }
  segment.trigger = touch.trigger == kNoTrigger ? 0 : touch.trigger;
  if (rule.kind == Rule::Kind::kSequence) {
    segment.trigger = static_cast<uint8_t>(rule.steps.size() - 1);
  }
  qualify(rule, at, segments::v1::TRIGGER, event.name, at, event.message_id, segment, out);
}

// Whether the pages counted, this one included, reach the number asked for. Occurrences are the
// latest pages, oldest first, no more than that number: a count of at least k needs only the k
// latest.
bool Fold::count_page(const Rule& rule, const Touch& touch, Time at, SegmentState& segment) {
  Memory& memory = segment.memory.open();
  Occurrences& pages = memory.occurrences;
  const bool counts = !rule.distinct || touch.value != 0;
  if (rule.kind == Rule::Kind::kPagesOfSession) {
    if (memory.session_at == Time::Min() || at >= memory.session_at + kSessionGap) {
      segment.count = 0;
      pages.clear();
    }
    memory.session_at = at;
    if (!rule.distinct) {
      segment.count = std::min(segment.count + 1, rule.at_least);
    } else if (counts && segment.count < rule.at_least &&
               std::none_of(pages.begin(), pages.end(),
                            [&](const Occurrence& p) { return p.value == touch.value; })) {
      pages.push_back({touch.value, at, Time::Max()});
      segment.count = static_cast<uint32_t>(pages.size());
    }
    return segment.count >= rule.at_least;
  }
  const Time from = at - rule.within;
  pages.erase(std::remove_if(pages.begin(), pages.end(),
                             [&](const Occurrence& p) {
                               return p.at <= from ||
                                      (rule.distinct && counts && p.value == touch.value);
                             }),
              pages.end());
  if (counts) pages.push_back({rule.distinct ? touch.value : 0, at, Time::Max()});
  if (pages.size() > rule.at_least) pages.erase(pages.begin());
  return pages.size() >= rule.at_least;
}

void Fold::step_inaction(const Rule& rule, const Touch& touch, const FoldEvent& event,
                         SegmentState& segment, Changes& out) {
  const Time at = event.order.time;
  const bool takes_part = !rule.match || touch.value != 0;
  const uint64_t value = rule.match ? touch.value : 0;
  Memory& memory = segment.memory.open();
  Occurrences& pendings = memory.occurrences;
  if ((touch.roles & kCancels) && takes_part) {
    pendings.erase(std::remove_if(pendings.begin(), pendings.end(),
                                  [&](const Occurrence& p) { return p.value == value; }),
                   pendings.end());
    // A member taken over from a version without `match` joined by no value: any lets them leave.
    const bool joined_by_this =
        !rule.match || memory.joined_value == 0 || memory.joined_value == value;
    if (segment.member && rule.exit == Rule::Exit::kCancel && joined_by_this) {
      leave(rule, event, segment, out);
    }
  }
  if (segment.member && (touch.roles & kExits)) leave(rule, event, segment, out);
  if (!(touch.roles & kTriggers) || !takes_part || segment.member) return;

  const auto pending = std::find_if(pendings.begin(), pendings.end(),
                                    [&](const Occurrence& p) { return p.value == value; });
  if (pending != pendings.end()) {
    if (!rule.restart) return;
    pendings.erase(pending);
  }
  pendings.push_back({value, at, at + rule.within});
  if (pendings.size() > kMaxPendings) {
    pendings.erase(pendings.begin());
    ++pendings_dropped;
  }
}

// Whether the last step was done. Instances that wait for the same event step can all do what the
// one that came to it last can, so only that is kept.
bool Fold::step_sequence(const Rule& rule, const Touch& touch, Time at, SegmentState& segment) {
  Occurrences& instances = segment.memory.open().occurrences;
  const auto is = [](uint16_t steps, uint64_t step) { return ((steps >> step) & 1U) != 0; };
  const auto expired = [&](const Occurrence& instance) {
    const Rule::Step& step = rule.steps[instance.value];
    return step.absence ? is(touch.absences, instance.value) : at >= instance.at + step.within;
  };
  instances.erase(std::remove_if(instances.begin(), instances.end(), expired), instances.end());

  bool done = false;
  absl::InlinedVector<uint64_t, 4> reached;
  for (auto it = instances.begin(); it != instances.end();) {
    if (!rule.steps[it->value].absence && is(touch.events, it->value)) {
      reached.push_back(it->value + 1);
      it = instances.erase(it);
    } else {
      ++it;
    }
  }
  if (is(touch.events, 0)) reached.push_back(1);
  for (uint64_t step : reached) {
    if (step == rule.steps.size()) {
      done = true;
      continue;
    }
    const Time due = rule.steps[step].absence ? at + rule.steps[step].within : Time::Max();
    wait(instances, {step, at, due});
  }
  return done;
}

void Fold::wait(Occurrences& instances, const Occurrence& instance) {
  instances.erase(
      std::remove_if(instances.begin(), instances.end(),
                     [&](const Occurrence& other) {
                       return other.value == instance.value &&
                              (instance.due == Time::Max() || other.due == instance.due);
                     }),
      instances.end());
  instances.push_back(instance);
  // Those that wait for an event are no more than the steps.
  if (instance.due == Time::Max()) return;
  const auto absent = [](const Occurrence& other) { return other.due != Time::Max(); };
  if (std::count_if(instances.begin(), instances.end(), absent) > kMaxPendings) {
    instances.erase(std::find_if(instances.begin(), instances.end(), absent));
    ++pendings_dropped;
  }
}

// The first moment after `after` to which the property's dates lead.
Time Fold::next_date(const Rule& rule, const FoldState& state, Time after) {
  Time next = Time::Max();
  const auto consider = [&](const Value& value) {
    Time date;
    if (value.type() != ValueType::kString ||
        (!rule.calendar->parse(value.text(), &date) && !ParseTimestamp(value.text(), &date))) {
      return;
    }
    const auto moment = [&](int years) {
      const Time of_year = years == 0 ? date : rule.calendar->years_later(date, years);
      return rule.calendar->shift(of_year, rule.offset, rule.time_of_day);
    };
    Time at = moment(0);
    if (rule.yearly && at <= after) {
      constexpr int64_t kLongestYear = Duration::Days(366).millis();
      int years = static_cast<int>((after.millis() - at.millis()) / kLongestYear);
      do {
        at = moment(years++);
      } while (at <= after);
    }
    if (at > after) next = std::min(next, at);
  };
  const Value value = state.profile.find(rule.property, &items_);
  if (value.type() == ValueType::kList) {
    for (const Value& item : value.items()) consider(item);
  } else {
    consider(value);
  }
  return next;
}

void Fold::read_date(const Rule& rule, Time after, const FoldState& state, SegmentState& segment) {
  const Value value = state.profile.find(rule.property, &items_);
  Memory& memory = segment.memory.open();
  memory.read_value = value.missing() ? 0 : ValueFingerprint(value);
  memory.occurrences.clear();
  const Time next = next_date(rule, state, after);
  if (next != Time::Max()) memory.occurrences.push_back({0, after, next});
}

// The property may have changed.
bool Fold::step_date(const Rule& rule, EventOrder order, const FoldState& state,
                     SegmentState& segment, Changes& out) {
  const Time at = order.time;
  const Value value = state.profile.find(rule.property, &items_);
  const uint64_t read = value.missing() ? 0 : ValueFingerprint(value);
  if (read == segment.memory->read_value) return false;
  Time since = rule.activation_clock;
  if (order.offset < settled_.before && rule.follows) since = std::max(since, settled_.at);
  const Time latest = std::max(at - kLatestDate - Duration::Millis(1), since);
  const bool fires = next_date(rule, state, latest) <= at;
  read_date(rule, std::max(at, since), state, segment);
  if (!fires || !filter_holds(rule, state, segment, at)) return false;
  qualify(rule, at, segments::v1::DATE_TIME, {}, Time(), {}, segment, out);
  return true;
}

void Fold::fire(Time moment, FoldState& state, Changes& out) {
  begin_step();
  for (const SegmentState& segment : state.segments) {
    if (segment.due <= moment) touch(segment.slot).roles |= kDue;
  }
  decide({moment}, state, out);
}

void Fold::fire_rule(const Rule& rule, Time moment, SegmentState& segment, FoldState& state,
                     Changes& out) {
  const auto leave_if_due = [&] {
    if (!segment.member || segment.exit_at > moment) return;
    segment.member = false;
    segment.since = moment;
    segment.exit_at = Time::Max();
    const std::string_view cause = TriggerName(rule, segment.trigger);
    out.push_back({segments::v1::REMOVE,
                   rule.slot,
                   moment,
                   segments::v1::EXPIRED,
                   cause,
                   cause.empty() ? Time() : segment.cause_at,
                   {}});
  };
  // Those that fall due at the moment, taken out.
  Occurrences due;
  const auto is_due = [&](const Occurrence& occurrence) { return occurrence.due <= moment; };
  const Occurrences& waiting = segment.memory->occurrences;
  std::copy_if(waiting.begin(), waiting.end(), std::back_inserter(due), is_due);
  if (!due.empty()) {
    Occurrences& left = segment.memory.open().occurrences;
    left.erase(std::remove_if(left.begin(), left.end(), is_due), left.end());
  }
  switch (rule.kind) {
    case Rule::Kind::kInaction: {
      // Both are judged on the state before the moment: a pending that falls due while the user is
      // a member has no effect, even if the membership ends at the same moment.
      const bool was_member = segment.member;
      leave_if_due();
      for (const Occurrence& pending : due) {
        if (was_member || segment.member || !filter_holds(rule, state, segment, moment)) continue;
        segment.trigger = 0;
        segment.memory.open().joined_value = pending.value;
        qualify(rule, moment, segments::v1::INACTION, TriggerName(rule, 0), pending.at, {}, segment,
                out);
      }
      return;
    }
    case Rule::Kind::kDateTime: {
      if (due.empty()) break;
      const Time next = next_date(rule, state, moment);
      if (next != Time::Max()) {
        segment.memory.open().occurrences.push_back({0, due[0].at, next});
      }
      if (filter_holds(rule, state, segment, moment)) {
        qualify(rule, moment, segments::v1::DATE_TIME, {}, Time(), {}, segment, out);
      }
      break;
    }
    case Rule::Kind::kSequence: {
      bool done = false;
      for (const Occurrence& instance : due) {
        const uint64_t step = instance.value + 1;
        if (step == rule.steps.size()) {
          done = true;
        } else if (rule.steps[step].absence) {
          wait(segment.memory.open().occurrences, {step, moment, moment + rule.steps[step].within});
        } else {
          wait(segment.memory.open().occurrences, {step, moment, Time::Max()});
        }
      }
      if (!done || !filter_holds(rule, state, segment, moment)) break;
      // The last event lies before the absences that end the sequence.
      size_t last = rule.steps.size() - 1;
      Time cause_at = moment;
      for (; last > 0 && rule.steps[last].absence; --last) {
        cause_at = cause_at - rule.steps[last].within;
      }
      segment.trigger = static_cast<uint8_t>(last);
      qualify(rule, moment, segments::v1::INACTION, TriggerName(rule, segment.trigger), cause_at,
              {}, segment, out);
      break;
    }
    default:
      break;
  }
  leave_if_due();
}

void Fold::build(Slot slot, Time at, Reason reason, FoldState& state, Changes& out) {
  const Rule& rule = rules_->rules[slot];
  begin_step();
  SegmentState& segment = FindOrAdd(state, rule);
  segment.built = true;
  segment.told = false;
  if (rule.kind == Rule::Kind::kDateTime) {
    read_date(rule, rule.activation_clock, state, segment);
    if (state.exists && SaysNothing(rule, segment)) state.segments.erase(slot);
  }
  if (rule.kind == Rule::Kind::kPast) touch(slot).roles |= kTouched;
  // Another segment may have gone by the same ID before.
  for (Slot outer : rule.dependents) touch(outer).roles |= kInner;
  decide({at, nullptr, slot, reason}, state, out);
}

void Fold::reach_outers(Slot slot, Time at, FoldState& state, Changes& out) {
  begin_step();
  for (Slot outer : rules_->rules[slot].dependents) touch(outer).roles |= kInner;
  decide({at, nullptr, slot}, state, out);
}

void Fold::note_deadlines(FoldState& state) const {
  for (SegmentState& segment : state.segments) {
    segment.due = Due(rules_->rules[segment.slot], segment);
  }
}

Time Fold::next_deadline(const FoldState& state) {
  Time next = Time::Max();
  for (const SegmentState& segment : state.segments) next = std::min(next, segment.due);
  return next;
}

Time Fold::next_deadline(const FoldState& state, Time before) const {
  if (due_before_ > before || due_after_ <= before) return std::min(before, due_after_);
  return next_deadline(state);
}

void Fold::run(const Input& input, Time until, EventOrder mark, FoldState& state, Time& decided,
               Changes& out, Marked& marked) {
  const auto& facts = input.facts;
  const std::vector<ProfileWrite>& writes = *input.writes;
  constexpr EventOrder kNever{Time::Max(), Offset(INT64_MAX)};
  settled_ = input.settled;
  bool met = false;
  Time next = next_deadline(state);
  while (true) {
    size_t i = state.facts_applied;
    EventOrder order = i < facts.size() ? facts[i].order : kNever;
    if (state.writes_applied < writes.size()) {
      order = std::min(order, writes[state.writes_applied].effective_order());
    }
    if (!state.exists) order = std::min(order, input.exists_from);
    if (next != Time::Max() && next <= std::min(order.time, until)) {
      fire(next, state, out);
      decided = std::max(decided, next);
      next = next_deadline(state);
      continue;
    }
    if (order == kNever || order.time > until) break;
    begin_step();
    apply_writes(writes, order, state);
    FoldEvent event{order, order.time, {}, {}};
    for (; i < facts.size() && facts[i].order == order; ++i) {
      const auto it = rules_->atom_by_fingerprint.find(facts[i].atom);
      if (it == rules_->atom_by_fingerprint.end()) continue;
      const Atom& atom = rules_->atoms[it->second];
      event.name = atom.event;
      event.at = facts[i].at;
      hit(atom, facts[i].value, order, facts[i].at, Among::kOrdered);
    }
    state.facts_applied = static_cast<uint32_t>(i);
    if (order == mark) marked.begin = out.size();
    if (touched(state)) {
      step(event, state, out);
      next = next_deadline(state, next);
    }
    if (order == mark) marked.end = out.size();
    met = met || order == mark;
  }
  settled_ = {};
  if (!met) marked = {out.size(), out.size()};
}

bool Fold::filter_holds(const Rule& rule, const FoldState& state, const SegmentState& segment,
                        Time at) {
  Time until;
  return rule.expression.empty() || holds({rule, &segment, state, at}, 0, &until);
}

bool Fold::holds(const Rule& rule, uint32_t node, const FoldState& state, Time at, Time* until) {
  return holds({rule, state.segments.find(rule.slot), state, at}, node, until);
}

// Of what is false because of one part, and of what is true because of one, that part's next turn
// is enough to know.
bool Fold::holds(const Scope& scope, uint32_t index, Time* until) {
  const auto& nodes = scope.rule.expression;
  const ExpressionNode& node = nodes[index];
  *until = Time::Max();
  switch (node.kind) {
    case ExpressionNode::Kind::kAllOf:
    case ExpressionNode::Kind::kAnyOf: {
      const bool decides = node.kind == ExpressionNode::Kind::kAnyOf;
      Time earliest = Time::Max();
      for (uint32_t child = index + 1; child < node.end; child = nodes[child].end) {
        if (holds(scope, child, until) == decides) return decides;
        earliest = std::min(earliest, *until);
      }
      *until = earliest;
      return !decides;
    }
    case ExpressionNode::Kind::kNot:
      return !holds(scope, index + 1, until);
    case ExpressionNode::Kind::kProperty: {
      const Value value = scope.state.profile.find(node.property, &items_);
      *until = node.predicate.next_change(value, scope.at);
      return node.predicate.holds(value, scope.at);
    }
    case ExpressionNode::Kind::kDid: {
      static const MeasureState kNothing;
      Time earliest = Time::Max();
      for (uint16_t i = node.first_measure; i < node.end_measure; ++i) {
        const Measure& measure = scope.rule.measures[i];
        const bool empty = scope.segment == nullptr || scope.segment->memory->measures.empty();
        const MeasureState& counted = empty ? kNothing : scope.segment->memory->measures[i];
        if (!measure.holds(counted, scope.at, until)) return false;
        earliest = std::min(earliest, *until);
      }
      *until = earliest;
      return true;
    }
    case ExpressionNode::Kind::kInSegment: {
      const SegmentState* inner = scope.state.segments.find(node.slot);
      return inner != nullptr && inner->member;
    }
  }
  return false;
}

}  // namespace segmentd

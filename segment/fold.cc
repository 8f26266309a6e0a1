#include "segment/fold.h"

#include <algorithm>
#include <cstdint>

namespace segmentd {
namespace {

SegmentState& FindOrAdd(std::vector<SegmentState>& segments, const LiveRule& rule) {
  auto it = std::lower_bound(segments.begin(), segments.end(), rule.slot,
                             [](const SegmentState& s, Slot slot) { return s.slot < slot; });
  if (it == segments.end() || it->slot != rule.slot) {
    it = segments.emplace(it);
    it->slot = rule.slot;
    it->version = rule.version;
  }
  return *it;
}

Time Earliest(const LiveRule& rule, const SegmentState& segment) {
  Time due = segment.member ? segment.exit_at : Time::Max();
  if (rule.kind == LiveRule::Kind::kInaction) {
    for (const Occurrence& pending : segment.occurrences) due = std::min(due, pending.due);
  }
  return due;
}

std::string_view TriggerName(const LiveRule& rule, uint8_t trigger) {
  return trigger < rule.triggers.size() ? std::string_view(rule.triggers[trigger])
                                        : std::string_view();
}

}  // namespace

Fold::Fold(const RuleSet::Compiled& rules) : rules_(&rules), place_(rules.rules.size(), 0) {}

void Fold::begin_event() {
  for (const Touch& touch : touched_) place_[touch.slot] = 0;
  touched_.clear();
}

void Fold::hit(const Atom& atom, uint64_t value, Offset offset) {
  for (const Subscription& subscription : atom.subscriptions) {
    if (offset >= rules_->rules[subscription.slot].activation_offset) touch(subscription, value);
  }
}

void Fold::hit(const Atom& atom, uint64_t value, Offset offset, bool order_free) {
  for (const Subscription& subscription : atom.subscriptions) {
    const LiveRule& rule = rules_->rules[subscription.slot];
    if (rule.order_free == order_free && offset >= rule.activation_offset) {
      touch(subscription, value);
    }
  }
}

void Fold::touch(const Subscription& subscription, uint64_t value) {
  uint32_t& place = place_[subscription.slot];
  if (place == 0) {
    touched_.push_back({subscription.slot, 0, kNoTrigger, 0});
    place = static_cast<uint32_t>(touched_.size());
  }
  Touch& touch = touched_[place - 1];
  touch.roles |= subscription.roles;
  if (subscription.roles & kTriggers) touch.trigger = std::min(touch.trigger, subscription.trigger);
  // Atoms of one rule that need a value need the same property, and this is one event.
  if (value != 0) touch.value = value;
}

void Fold::step(const FoldEvent& event, FoldState& state, Changes& out) {
  if (touched_.size() > 1) {
    std::sort(touched_.begin(), touched_.end(),
              [](const Touch& a, const Touch& b) { return a.slot < b.slot; });
  }
  for (const Touch& touch : touched_) {
    step_rule(rules_->rules[touch.slot], touch, event, state, out);
  }
}

void Fold::leave(const LiveRule& rule, const FoldEvent& event, SegmentState& segment,
                 Changes& out) {
  segment.member = false;
  segment.since = event.order.time;
  segment.exit_at = Time::Max();
  out.push_back({segments::v1::REMOVE, rule.slot, event.order.time, segments::v1::EXIT_EVENT,
                 event.name, event.order.time, event.message_id});
}

void Fold::step_rule(const LiveRule& rule, const Touch& touch, const FoldEvent& event,
                     FoldState& state, Changes& out) {
  const Time at = event.order.time;
  if (!(touch.roles & (kTriggers | kIsPage)) && !FindSegment(state, rule.slot)) {
    return;  // Exits and cancellations mean nothing to somebody who was never in.
  }
  if (rule.kind == LiveRule::Kind::kInaction) {
    step_inaction(rule, touch, event, FindOrAdd(state.segments, rule), out);
    return;
  }
  SegmentState& segment = FindOrAdd(state.segments, rule);
  if (rule.order_free && segment.member) return;

  bool qualifies = (touch.roles & kTriggers) != 0;
  switch (rule.kind) {
    case LiveRule::Kind::kActions:
    case LiveRule::Kind::kInaction:
      break;
    case LiveRule::Kind::kReferrer:
      if (touch.roles & kIsPage) {
        const bool first =
            segment.session_at == Time::Min() || at >= segment.session_at + kSessionGap;
        qualifies = qualifies && first;
        segment.session_at = at;
      }
      break;
    case LiveRule::Kind::kPagesOfSession:
    case LiveRule::Kind::kPagesWithin:
      qualifies = (touch.roles & kIsPage) && count_page(rule, touch, at, segment);
      break;
  }
  qualifies = qualifies && filter_holds(rule, state.profile, at);

  if (!qualifies) {
    if (segment.member && (touch.roles & kExits)) leave(rule, event, segment, out);
    return;
  }
  segment.cause_at = at;
  segment.trigger = touch.trigger == kNoTrigger ? 0 : touch.trigger;
  if (rule.exit == LiveRule::Exit::kAfter) {
    // A member taken over counts as qualified at the activation, which an event may precede.
    const Time exit_at = at + rule.exit_after;
    segment.exit_at = segment.member ? std::max(segment.exit_at, exit_at) : exit_at;
  }
  if (!segment.member) {
    segment.member = true;
    segment.since = at;
    out.push_back({segments::v1::ADD, rule.slot, at, segments::v1::TRIGGER, event.name, at,
                   event.message_id});
  } else if (rule.repeat) {
    out.push_back({segments::v1::QUALIFIED, rule.slot, at, segments::v1::TRIGGER, event.name, at,
                   event.message_id});
  }
}

// Whether the pages counted, this one included, reach the number asked for. Instances are the
// latest pages, oldest first, no more than that number: a count of at least k needs only the k
// latest.
bool Fold::count_page(const LiveRule& rule, const Touch& touch, Time at, SegmentState& segment) {
  auto& pages = segment.occurrences;
  const bool counts = !rule.distinct || touch.value != 0;
  if (rule.kind == LiveRule::Kind::kPagesOfSession) {
    if (segment.session_at == Time::Min() || at >= segment.session_at + kSessionGap) {
      segment.count = 0;
      pages.clear();
    }
    segment.session_at = at;
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

void Fold::step_inaction(const LiveRule& rule, const Touch& touch, const FoldEvent& event,
                         SegmentState& segment, Changes& out) {
  const Time at = event.order.time;
  const bool takes_part = !rule.match || touch.value != 0;
  const uint64_t value = rule.match ? touch.value : 0;
  auto& pendings = segment.occurrences;
  if ((touch.roles & kCancels) && takes_part) {
    pendings.erase(std::remove_if(pendings.begin(), pendings.end(),
                                  [&](const Occurrence& p) { return p.value == value; }),
                   pendings.end());
    // A member taken over from a version without `match` joined by no value: any lets them leave.
    const bool joined_by_this =
        !rule.match || segment.joined_value == 0 || segment.joined_value == value;
    if (segment.member && rule.exit == LiveRule::Exit::kCancel && joined_by_this) {
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

void Fold::fire(Time moment, FoldState& state, Changes& out) {
  for (SegmentState& segment : state.segments) {
    const LiveRule& rule = rules_->rules[segment.slot];
    if (!rule.runs || segment.version != rule.version) continue;
    // Both are judged on the state before the moment: a pending that falls due while the user is a
    // member has no effect, even if the membership ends at the same moment.
    const bool was_member = segment.member;
    if (was_member && segment.exit_at == moment) {
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
    }
    if (rule.kind != LiveRule::Kind::kInaction) continue;
    auto& pendings = segment.occurrences;
    for (auto it = pendings.begin(); it != pendings.end();) {
      if (it->due != moment) {
        ++it;
        continue;
      }
      const Occurrence pending = *it;
      it = pendings.erase(it);
      if (was_member || segment.member || !filter_holds(rule, state.profile, moment)) continue;
      segment.member = true;
      segment.since = moment;
      segment.trigger = 0;
      segment.cause_at = pending.at;
      segment.joined_value = pending.value;
      segment.exit_at =
          rule.exit == LiveRule::Exit::kAfter ? moment + rule.exit_after : Time::Max();
      out.push_back({segments::v1::ADD,
                     rule.slot,
                     moment,
                     segments::v1::INACTION,
                     TriggerName(rule, 0),
                     pending.at,
                     {}});
    }
  }
}

void Fold::apply_writes(const std::vector<ProfileWrite>& writes, EventOrder order,
                        FoldState& state) {
  while (state.writes_applied < writes.size()) {
    const ProfileWrite& write = writes[state.writes_applied];
    if (EventOrder{write.effective, write.order.offset} > order) return;
    if (!state.profile.apply(write)) ++writes_refused;
    ++state.writes_applied;
  }
}

Time Fold::next_deadline(const FoldState& state) const {
  Time next = Time::Max();
  for (const SegmentState& segment : state.segments) {
    const LiveRule& rule = rules_->rules[segment.slot];
    if (!rule.runs || segment.version != rule.version) continue;
    next = std::min(next, Earliest(rule, segment));
  }
  return next;
}

void Fold::run(absl::Span<const Fact> facts, const std::vector<ProfileWrite>& writes, Time until,
               EventOrder mark, FoldState& state, Time& decided, Changes& out, Marked& marked) {
  const auto fire_up_to = [&](Time limit) {
    for (Time next = next_deadline(state); next <= limit && next != Time::Max();
         next = next_deadline(state)) {
      apply_writes(writes, {next, Offset(-1)}, state);
      fire(next, state, out);
      decided = std::max(decided, next);
    }
  };
  bool met = false;
  for (size_t i = 0; i < facts.size();) {
    const EventOrder order = facts[i].order;
    fire_up_to(order.time);
    apply_writes(writes, order, state);
    begin_event();
    std::string_view name;
    for (; i < facts.size() && facts[i].order == order; ++i) {
      const auto it = rules_->atom_by_fingerprint.find(facts[i].atom);
      if (it == rules_->atom_by_fingerprint.end()) continue;
      const Atom& atom = rules_->atoms[it->second];
      name = atom.event;
      hit(atom, facts[i].value, order.offset, /*order_free=*/false);
    }
    if (order == mark) marked.begin = out.size();
    step({order, name, {}}, state, out);
    if (order == mark) marked.end = out.size();
    met = met || order == mark;
  }
  fire_up_to(until);
  apply_writes(writes, {until, Offset(INT64_MAX)}, state);
  if (!met) marked = {out.size(), out.size()};
}

bool Fold::filter_holds(const LiveRule& rule, const Profile& profile, Time at) {
  return rule.filter.empty() || holds(rule.filter, 0, profile, at);
}

bool Fold::holds(const std::vector<FilterNode>& nodes, uint32_t at, const Profile& profile,
                 Time now) {
  const FilterNode& node = nodes[at];
  switch (node.kind) {
    case FilterNode::Kind::kAllOf:
      for (uint32_t child = at + 1; child < node.end; child = nodes[child].end) {
        if (!holds(nodes, child, profile, now)) return false;
      }
      return true;
    case FilterNode::Kind::kAnyOf:
      for (uint32_t child = at + 1; child < node.end; child = nodes[child].end) {
        if (holds(nodes, child, profile, now)) return true;
      }
      return false;
    case FilterNode::Kind::kNot:
      return !holds(nodes, at + 1, profile, now);
    case FilterNode::Kind::kProperty:
      return node.predicate.holds(profile.find(node.property, &items_), now);
  }
  return false;
}

}  // namespace segmentd

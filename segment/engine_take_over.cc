// What a change of the rules means to a user.
#include <algorithm>
#include <utility>
#include <vector>

#include "segment/engine_core.h"

namespace segmentd {
namespace {

// Whether there is something of the user from before the offset.
bool Known(const UserState& user, Offset before) {
  if (user.exists_since != Time::Max() && user.exists_offset < before) return true;
  const auto is_before = [&](const auto& kept) { return kept.order.offset < before; };
  return std::any_of(user.facts.begin(), user.facts.end(), is_before) ||
         std::any_of(user.writes.begin(), user.writes.end(), is_before);
}

// The user's now at a change of the rules.
Time NowAt(const ActivationPoint& change, const UserState& user) {
  return std::max({change.clock, user.newest_event, user.now});
}

}  // namespace

void Engine::Core::evaluate_outers_in_base(const Rule& rule, UserState& user) {
  const RuleSet::Compiled& compiled = rules->compiled();
  for (Slot slot : rule.dependents) {
    const Rule& outer = compiled.rules[slot];
    const SegmentState* now = user.present.segments.find(slot);
    if (!outer.runs || (now ? !now->built || now->version != outer.version : !outer.built)) {
      continue;
    }
    SegmentState& state = user.base->segments.find_or_add(slot);
    state.version = outer.version;
    state.exit_at = std::min(state.exit_at, user.base->until);
  }
}

void Engine::Core::settle(const ActivationPoint& before, UserState& user) {
  const Time now = NowAt(before, user);
  begin_base(user);
  Base& base = *user.base;
  base.settled = {before.offset, now, rules->compiled().settled_change_number};
  user.decided = std::max(user.decided, now);
  for (Slot slot : rules->compiled().following) {
    const Rule& rule = rules->compiled().rules[slot];
    const SegmentState* present = user.present.segments.find(slot);
    // What waits is settled for itself.
    if (rule.runs && !(present != nullptr ? present->built : rule.built)) continue;
    const SegmentState* earlier = base.segments.find(slot);
    // What is counted does not depend on other segments.
    Memory counted;
    if (earlier != nullptr) {
      counted.measures = earlier->memory->measures;
      counted.ahead = earlier->memory->ahead;
    }
    const bool has_counted = counted != Memory();
    if (present == nullptr && !has_counted) {
      base.segments.erase(slot);
      continue;
    }
    SegmentState settled;
    settled.slot = slot;
    settled.version = rule.version;
    settled.built = rule.built;
    if (present != nullptr) settled = *present;
    if (settled.memory.has_value() || has_counted) {
      settled.memory.open().measures = std::move(counted.measures);
      settled.memory.open().ahead = std::move(counted.ahead);
    }
    if (rule.kind == Rule::Kind::kDateTime && settled.built) {
      fold.read_date(rule, std::max(rule.activation_clock, now), base, settled);
    }
    base.segments.put(std::move(settled));
    evaluate_outers_in_base(rule, user);
  }
  for (Slot slot : rules->compiled().kept_for_others) {
    const SegmentState* present = user.present.segments.find(slot);
    if (present == nullptr || !present->member) continue;
    base.segments.put(*present);
    evaluate_outers_in_base(rules->compiled().rules[slot], user);
  }
  for (Slot slot : rules->compiled().followed_past) {
    const Rule& rule = rules->compiled().rules[slot];
    const SegmentState* present = user.present.segments.find(slot);
    if (present == nullptr && base.segments.find(slot) == nullptr) continue;
    SegmentState& settled = base.segments.find_or_add(slot);
    settled.version = rule.version;
    settled.built = present != nullptr ? present->built : rule.built;
    settled.member = present != nullptr && present->member;
    settled.told = present != nullptr && present->told;
    settled.since = present != nullptr ? present->since : Time::Min();
    settled.exit_at = now;
    evaluate_outers_in_base(rule, user);
  }
}

void Engine::Core::settle(UserState& user) {
  if (user.exists_since == Time::Max()) return;
  Offset before = std::max(user.settled().before, user.exists_offset.next());
  for (const Fact& fact : user.facts) before = std::max(before, fact.order.offset.next());
  for (const ProfileWrite& write : user.writes) {
    before = std::max(before, write.order.offset.next());
  }
  settle({before, user.now}, user);
}

bool Engine::Core::stand_still(const Rule& rule, SegmentState& segment, UserState& user) {
  // Another version builds all anew.
  const bool tells = rule.telling && segment.built && segment.member && !segment.told;
  if (tells) segment.told = true;
  // Whatever is folded again finds the membership as it stands still, and so do those that refer to
  // it.
  if (!rule.dependents.empty()) begin_base(user);
  if (user.base) {
    user.base->segments.put(segment);
    evaluate_outers_in_base(rule, user);
  }
  return tells;
}

void Engine::Core::take_version(const Rule& rule, SegmentState& segment, UserState& user) {
  SegmentState taken;
  taken.slot = segment.slot;
  taken.version = rule.version;
  taken.built = rule.built;
  taken.since = segment.since;
  if (segment.member) {
    taken.member = true;
    taken.told = segment.told;
    taken.trigger = kNoTrigger;
    taken.cause_at = segment.cause_at;
    // Images of older formats have a date's value in both.
    if (segment.memory->joined_value != 0 &&
        segment.memory->joined_value != segment.memory->read_value) {
      taken.memory.open().joined_value = segment.memory->joined_value;
    }
    if (rule.exit == Rule::Exit::kAfter) {
      taken.exit_at = std::max(rule.activation_clock, user.newest_event) + rule.exit_after;
    }
  }
  segment = taken;
  // The base of this version is the membership at its activation, whatever the facts before it
  // were.
  begin_base(user);
  user.base->segments.put(taken);
  evaluate_outers_in_base(rule, user);
}

bool Engine::Core::settle_for_change(UserState& user) {
  const ActivationPoint& change = rules->compiled().settled_before;
  const uint64_t number = rules->compiled().settled_change_number;
  const Settled settled = user.settled();
  // Before changes had numbers it went by the user's now, and so must a replay of such a change.
  const bool is_later = number > 0 ? settled.change_number < number
                                   : settled.before == change.offset && settled.at < change.clock;
  const bool is_new = settled.before < change.offset || is_later;
  if (!is_new || !Known(user, change.offset)) return false;
  settle(change, user);
  return true;
}

bool Engine::Core::keep_for_others(UserState& user) {
  const RuleSet::Compiled& compiled = rules->compiled();
  std::vector<Slot> slots;
  for (Slot slot : compiled.kept_for_others) {
    const SegmentState* present = user.present.segments.find(slot);
    if (present == nullptr || !present->member) continue;
    const SegmentState* in_base = user.base ? user.base->segments.find(slot) : nullptr;
    if (in_base == nullptr || !in_base->member) slots.push_back(slot);
  }
  if (slots.empty()) return false;
  std::sort(slots.begin(), slots.end());
  // Once through the facts, of which there may be many, as of the segments.
  std::vector<bool> led(slots.size(), false);
  for (const Fact& fact : user.facts) {
    const auto it = compiled.atom_by_fingerprint.find(fact.atom);
    if (it == compiled.atom_by_fingerprint.end() || fact.at < fact.order.time) continue;
    for (const Subscription& s : compiled.atoms[it->second].subscriptions) {
      const Rule& rule = compiled.rules[s.slot];
      if (!rule.kept_for_others || (s.roles & kTriggers) == 0 ||
          fact.order.offset < rule.activation_offset) {
        continue;
      }
      const auto at = std::lower_bound(slots.begin(), slots.end(), s.slot);
      if (at != slots.end() && *at == s.slot) led[static_cast<size_t>(at - slots.begin())] = true;
    }
  }
  bool changed = false;
  for (size_t i = 0; i < slots.size(); ++i) {
    if (led[i]) continue;
    begin_base(user);
    user.base->segments.put(*user.present.segments.find(slots[i]));
    evaluate_outers_in_base(compiled.rules[slots[i]], user);
    changed = true;
  }
  return changed;
}

bool Engine::Core::forget(UserState& user) {
  const RuleSet::Compiled& compiled = rules->compiled();
  // What only said that the user had had their turn.
  const auto says_nothing = [&](const SegmentState& segment) {
    return segment.slot < compiled.rules.size() &&
           SaysNothing(compiled.rules[segment.slot], segment);
  };
  // Saved images may name its slot: they are to be saved anew.
  const bool changed = user.present.segments.erase_if(says_nothing) > 0;
  if (!user.base) return changed;
  const auto forgotten = [&](const SegmentState& segment) {
    if (segment.slot >= compiled.rules.size()) return false;
    const Rule& rule = compiled.rules[segment.slot];
    // Before the user is there it says that the segment is evaluated when they come.
    const bool waits = !user.base->exists && rule.kind == Rule::Kind::kPast;
    if (says_nothing(segment) && !waits) return true;
    // Of an earlier version, or of before a pause, which the present has nothing of.
    return (!rule.runs || segment.version != rule.version) &&
           user.present.segments.find(segment.slot) == nullptr;
  };
  return user.base->segments.erase_if(forgotten) > 0 || changed;
}

bool Engine::Core::carry_over(UserState& user) {
  const RuleSet::Compiled& compiled = rules->compiled();
  bool changed = false;
  for (SegmentState& segment : user.present.segments) {
    if (segment.slot >= compiled.rules.size()) continue;
    const Rule& rule = compiled.rules[segment.slot];
    if (!rule.runs) {
      changed = stand_still(rule, segment, user) || changed;
    } else if (segment.version != rule.version) {
      take_version(rule, segment, user);
      changed = true;
    }
  }
  changed = keep_for_others(user) || changed;
  changed = settle_for_change(user) || changed;
  for (Slot slot : compiled.waiting) changed = note_now(compiled.rules[slot], user) || changed;
  changed = forget(user) || changed;
  // The deadlines of a segment that is being deleted are none any more.
  const Time next_deadline = user.next_deadline;
  fold.note_deadlines(user.present);
  look_ahead(user);
  return changed || user.next_deadline != next_deadline;
}

bool Engine::Core::note_now(const Rule& rule, UserState& user) {
  const SegmentState* present = user.present.segments.find(rule.slot);
  if (present != nullptr && present->built && present->version == rule.version) return false;
  const ActivationPoint& since = rule.followed_since;
  if (!Known(user, since.offset)) return false;
  begin_base(user);
  SegmentState& waits = user.base->segments.find_or_add(rule.slot);
  if (waits.version != rule.version) {
    waits = SegmentState();
    waits.slot = rule.slot;
    waits.version = rule.version;
  }
  waits.built = false;
  const auto offset = static_cast<uint64_t>(since.offset.value());
  const Occurrences& noted = waits.memory->occurrences;
  // Between two records there may be several.
  if (!noted.empty() && noted[0].value == offset && noted[0].at >= since.clock) return false;
  waits.memory.open().occurrences = {{offset, NowAt(since, user), Time::Max()}};
  return true;
}

}  // namespace segmentd

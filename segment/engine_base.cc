// The base of a user: where it stands, what it takes in, and what begins with it.
#include <algorithm>
#include <limits>
#include <memory>

#include "segment/engine_core.h"

namespace segmentd {
namespace {

// A base moves on when at least so many facts and writes, and at least so large a part of all, are
// beyond the reach of late events: each is folded twice in all, those that stay are moved up not
// too often, and no single step takes long.
constexpr size_t kWorthFolding = 16;
constexpr size_t kPartWorthFolding = 16;

}  // namespace

void Engine::Core::begin_base(UserState& user) {
  if (user.base) return;
  user.base = std::make_unique<Base>();
  keep_turns(user, *user.base);
}

void Engine::Core::begin_again(const UserState& user, bool with_profile) {
  again = FoldState();
  if (user.base) {
    again.exists = user.base->exists;
    if (with_profile) again.profile = user.base->profile;
    for (const SegmentState& segment : user.base->segments) {
      if (fold.concerns(segment.slot)) again.segments.put(segment);
    }
  } else {
    keep_turns(user, again);
  }
  fold.note_deadlines(again);
}

void Engine::Core::keep_turns(const UserState& user, FoldState& state) {
  const RuleSet::Compiled& compiled = rules->compiled();
  for (const SegmentState& segment : user.present.segments) {
    if (segment.slot >= compiled.rules.size() || !fold.concerns(segment.slot)) continue;
    const Rule& rule = compiled.rules[segment.slot];
    if (!rule.runs) {
      state.segments.put(segment);
      continue;
    }
    if (rule.built || !segment.built || segment.version != rule.version) continue;
    SegmentState& kept = state.segments.find_or_add(segment.slot);
    kept.version = segment.version;
    kept.built = true;
  }
}

size_t Engine::Core::writes_over(const UserState& user) const {
  const size_t size = user.writes.size();
  const size_t over = size > settings.max_facts ? size - settings.max_facts : 0;
  size_t bytes = 0;
  for (size_t i = size; i-- > over;) {
    bytes += user.writes[i].bytes();
    if (bytes > kMaxWriteBytes) return i + 1;
  }
  return over;
}

bool Engine::Core::fits_ahead(const Event& event, const UserState& user) const {
  const Time reached = std::max(user.newest_event, event.record_time - settings.deadline_grace);
  size_t facts = 0;
  for (const Hit& hit : matcher.hits()) facts += rules->compiled().atoms[hit.atom].measured ? 1 : 0;
  for (auto fact = user.facts.rbegin(); fact != user.facts.rend(); ++fact) {
    if (fact->order.time <= reached) break;
    if (++facts > settings.max_facts) return false;
  }
  size_t writes = event.profile.size();
  size_t bytes = 0;
  for (const ProfileCommand& command : event.profile) {
    bytes += command.property.size() + OwnedValue(command.value).bytes();
  }
  for (auto write = user.writes.rbegin(); write != user.writes.rend(); ++write) {
    if (write->effective <= reached) break;
    if (++writes > settings.max_facts) return false;
    bytes += write->bytes();
    if (bytes > kMaxWriteBytes) return false;
  }
  return facts <= settings.max_facts && writes <= settings.max_facts && bytes <= kMaxWriteBytes;
}

Time Engine::Core::waiting_from(Time before, const UserState& user) const {
  const ActivationPoint& building = *rules->compiled().building;
  before = std::min(before, building.clock);
  for (const Fact& fact : user.facts) {
    if (fact.order.time >= before) break;
    if (fact.order.offset >= building.offset) before = fact.order.time;
  }
  for (const ProfileWrite& write : user.writes) {
    if (write.effective >= before) break;
    if (write.order.offset >= building.offset) before = write.effective;
  }
  return before;
}

void Engine::Core::move_base(const Event& event, UserState& user) {
  const size_t all = user.facts.size() + user.writes.size();
  if (all < kWorthFolding) return;
  const auto cut = [&](Time before, size_t* facts, size_t* writes) {
    *facts = static_cast<size_t>(
        std::partition_point(user.facts.begin(), user.facts.end(),
                             [&](const Fact& f) { return f.order.time < before; }) -
        user.facts.begin());
    *writes = static_cast<size_t>(
        std::partition_point(user.writes.begin(), user.writes.end(),
                             [&](const ProfileWrite& w) { return w.effective < before; }) -
        user.writes.begin());
  };
  const size_t facts_over =
      user.facts.size() > settings.max_facts ? user.facts.size() - settings.max_facts : 0;
  // Without a new one there are no more than there were.
  const size_t writes_over = event.profile.empty() ? 0 : this->writes_over(user);
  const bool over = facts_over > 0 || writes_over > 0;
  size_t facts = 0;
  size_t writes = 0;
  Time before = user.newest_event - settings.max_lateness;
  if (rules->compiled().building) before = waiting_from(before, user);
  const bool all_in_reach = (user.facts.empty() || user.facts.front().order.time >= before) &&
                            (user.writes.empty() || user.writes.front().effective >= before);
  if (all_in_reach && !over) return;
  cut(before, &facts, &writes);
  const size_t out_of_reach = facts + writes;
  if (out_of_reach < kWorthFolding || out_of_reach * kPartWorthFolding < all ||
      facts < facts_over || writes < writes_over) {
    if (!over) return;
    // Past the bound the oldest eighth goes, cut between two moments, and at least what is over: a
    // larger part makes this step longer, a smaller one such steps frequent. Not what lies ahead,
    // though: the base must not overtake the present.
    const Time reached = std::max(user.newest_event, event.record_time - settings.deadline_grace);
    const Time oldest_kept = facts_over > 0 ? user.facts[user.facts.size() / 8].order.time
                                            : user.writes[user.writes.size() / 8].effective;
    before = std::max(before, std::min(oldest_kept, reached));
    cut(before, &facts, &writes);
    if (facts < facts_over || writes < writes_over) {
      Time last = Time::Min();
      if (facts_over > 0) last = user.facts[facts_over - 1].order.time;
      if (writes_over > 0) last = std::max(last, user.writes[writes_over - 1].effective);
      before = std::max(before, std::min(last, reached) + Duration::Millis(1));
      cut(before, &facts, &writes);
    }
    counters.facts_dropped += static_cast<int64_t>(facts + writes - out_of_reach);
  }
  if (facts + writes == 0) return;
  // With the deadlines up to there: a filter must not see the writes after them.
  begin_base(user);
  Base& base = *user.base;
  base.until = std::max(base.until, before - Duration::Millis(1));
  fold.note_deadlines(base);
  transitions.clear();
  Fold::Marked unused;
  Time decided = Time::Min();
  fold.counted_from = Offset(std::numeric_limits<int64_t>::max());
  fold.run(input_of(user), base.until, {}, base, decided, transitions, unused);
  fold.counted_from = Offset();
  // The present has no more ahead than the base.
  if (fold.take_in(base.until, base) > 0) fold.take_in(base.until, user.present);
  const uint32_t gone_facts = base.facts_applied;
  const uint32_t gone_writes = base.writes_applied;
  base.facts_applied = 0;
  base.writes_applied = 0;
  user.facts.erase(user.facts.begin(), user.facts.begin() + gone_facts);
  user.writes.erase(user.writes.begin(), user.writes.begin() + gone_writes);
  user.present.facts_applied -= gone_facts;
  user.present.writes_applied -= gone_writes;
}

}  // namespace segmentd

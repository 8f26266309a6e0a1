// The user's turn of a segment whose history is added.
#include <algorithm>
#include <iterator>
#include <limits>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_set.h"

#include "segment/engine_core.h"

namespace segmentd {

Settled Engine::Core::take_noted(const Rule& rule, UserState& user) {
  SegmentState* waits = user.base ? user.base->segments.find(rule.slot) : nullptr;
  if (waits == nullptr || waits->built || waits->memory->occurrences.empty()) return {};
  const Occurrence noted = waits->memory->occurrences[0];
  waits->memory.open().occurrences.clear();
  return {Offset(static_cast<int64_t>(noted.value)), noted.at};
}

void Engine::Core::catch_up(const Rule& rule, const Settled& settled, UserState& user,
                            Changes& out) {
  fold.restrict(absl::MakeConstSpan(&rule.slot, 1));
  begin_again(user, fold.reads_profile());
  transitions.clear();
  Fold::Marked unused;
  Fold::Input input = input_of(user, fold.reads_profile());
  if (rule.follows_past && user.base) {
    // Whatever the user was settled for since.
    input.settled = settled;
    settle_again(rule, user.base->until, input);
  }
  if (rule.kind == Rule::Kind::kDateTime && rule.follows) {
    // Among what the base has read may be moments that are over.
    fold.read_date(rule, std::max(rule.activation_clock, input.settled.at), again,
                   *again.segments.find(rule.slot));
    fold.note_deadlines(again);
  }
  fold.counted_from = Offset(std::numeric_limits<int64_t>::max());
  fold.run(input, user.now, {}, again, user.decided, transitions, unused);
  fold.counted_from = Offset();
  fold.unrestrict();
  user.present.segments.put(std::move(*again.segments.find(rule.slot)));
  std::copy_if(transitions.begin(), transitions.end(), std::back_inserter(out),
               [&](const Change& change) { return change.slot == rule.slot; });
}

void Engine::Core::settle_again(const Rule& rule, Time from, const Fold::Input& input) {
  const Settled& settled = input.settled;
  const Time at = settled.before == Offset() ? from : settled.at;
  std::vector<Fact> facts;
  std::copy_if(input.facts.begin(), input.facts.end(), std::back_inserter(facts),
               [&](const Fact& fact) { return fact.order.offset < settled.before; });
  std::vector<ProfileWrite> writes;
  std::copy_if(input.writes->begin(), input.writes->end(), std::back_inserter(writes),
               [&](const ProfileWrite& write) { return write.order.offset < settled.before; });
  FoldState then = again;
  for (SegmentState& segment : then.segments) {
    // Evaluated at once. Not before the base: calendar periods would turn one after the other.
    segment.exit_at = std::min(from, at);
    if (segment.slot == rule.slot) segment.built = false;
  }
  fold.note_deadlines(then);
  Time decided;
  Changes untold;
  Fold::Marked unused;
  fold.counted_from = Offset(std::numeric_limits<int64_t>::max());
  fold.run({facts, &writes, input.exists_from, {}}, at, {}, then, decided, untold, unused);
  const auto become = [&](SegmentState& inner) {
    if (inner.slot == rule.slot) return;
    const SegmentState* was = then.segments.find(inner.slot);
    inner.member = was != nullptr && was->member;
    inner.exit_at = at;
  };
  for (SegmentState& segment : again.segments) become(segment);
  for (const SegmentState& segment : then.segments) {
    if (again.segments.find(segment.slot) != nullptr) continue;
    SegmentState& inner = again.segments.find_or_add(segment.slot);
    inner.version = segment.version;
    inner.built = segment.built;
    become(inner);
  }
  fold.note_deadlines(again);
}

void Engine::Core::remember(absl::Span<const SeenMessage> messages, UserState& user) {
  absl::flat_hash_set<uint64_t> known;
  for (const SeenMessage& seen : user.seen) known.insert(seen.id);
  std::vector<SeenMessage> unseen;
  for (const SeenMessage& earlier : messages) {
    if (known.insert(earlier.id).second) unseen.push_back(earlier);
  }
  user.seen.insert(user.seen.begin(), unseen.begin(), unseen.end());
  if (user.seen.size() <= settings.max_message_ids) return;
  const auto over = static_cast<ptrdiff_t>(user.seen.size() - settings.max_message_ids);
  user.seen.erase(user.seen.begin(), user.seen.begin() + over);
  counters.message_ids_dropped += over;
}

// A write that others have made the stream record has its place among those kept: in the base it
// would make all that came before it look outdated.
void Engine::Core::add_common(const Past& past, UserState& user, FoldState& state) {
  const auto recorded = [&](const ProfileWrite& write) {
    return std::any_of(user.writes.begin(), user.writes.end(), [&](const ProfileWrite& of_stream) {
      return of_stream.order == write.order && of_stream.property == write.property;
    });
  };
  // Of the same event: its own commands come after its context.
  const auto applied = [&](const ProfileWrite& write) {
    const auto& properties = state.profile.properties();
    return std::any_of(properties.begin(), properties.end(),
                       [&](const Profile::Property& property) {
                         return property.newest == write.order && property.name == write.property;
                       });
  };
  for (const ProfileWrite& write : past.common) {
    if (recorded(write) || applied(write)) continue;
    const bool refused = !state.profile.apply(write);
    if (refused && &state == &user.present) ++fold.writes_refused;
  }
}

void Engine::Core::add_past(const Rule& rule, const Past* past, Time at, Reason reason,
                            UserState& user, FoldState& state, Changes& out) {
  SegmentState& segment = state.segments.find_or_add(rule.slot);
  segment.version = rule.version;
  if (past != nullptr) add_common(*past, user, state);
  if (past != nullptr && (!past->measures.empty() || !past->ahead.empty())) {
    Memory& memory = segment.memory.open();
    memory.measures.resize(rule.measures.size());
    for (size_t i = 0; i < past->measures.size(); ++i) {
      rule.measures[i].merge(past->measures[i], at, memory.measures[i]);
    }
    if (!past->ahead.empty()) memory.ahead = past->ahead;
  }
  fold.build(rule.slot, at, reason, state, out);
}

void Engine::Core::build_in_base(const Rule& rule, const Past* past, Reason reason,
                                 UserState& user) {
  // The past belongs before all that a late event can reach.
  if (past != nullptr) begin_base(user);
  if (!user.base) return;
  Base& base = *user.base;
  transitions.clear();
  add_past(rule, past, base.until, reason, user, base, transitions);
  if (rule.kind != Rule::Kind::kPast || !rule.followed || base.settled.at <= base.until) return;
  // Until the user was settled it was what it was then.
  SegmentState& settled = base.segments.find_or_add(rule.slot);
  Time until;
  settled.member = fold.holds(rule, 0, base, base.settled.at, &until);
  settled.exit_at = base.settled.at;
}

bool Engine::build(Slot slot, Time clock, const Past* past, Reason reason, UserState& user,
                   Changes& out) {
  Core& core = *core_;
  core.take_over(user);
  const Rule& rule = core.rules->compiled().rules[slot];
  const SegmentState* present = user.present.segments.find(slot);
  // Before anything is done to a user whom nobody saves for it.
  if (present && present->built && present->version == rule.version) return false;
  core.fire(clock, user, out);

  // Also of a rule that by now follows something live or deleted: the note must not be taken for
  // something that waits.
  const Settled noted = Core::take_noted(rule, user);
  core.build_in_base(rule, past, reason, user);
  const Time now = std::max(clock, user.newest_event);
  if (rule.kind == Rule::Kind::kPast) {
    core.add_past(rule, past, now, reason, user, user.present, out);
  } else {
    if (past != nullptr) core.add_common(*past, user, user.present);
    SegmentState& segment = user.present.segments.find_or_add(slot);
    segment.version = rule.version;
    segment.built = true;
    segment.told = false;
    core.catch_up(rule, noted, user, out);
    core.fold.reach_outers(slot, now, user.present, out);
  }

  if (past != nullptr) {
    core.counters.facts_dropped += past->cut_off;
    if (!past->messages.empty()) core.remember(past->messages, user);
  }
  core.fold.note_deadlines(user.present);
  core.look_ahead(user);
  core.fire(now, user, out);
  // What is older is late.
  if (user.present.exists) user.decided = std::max(user.decided, now);
  return true;
}

void Engine::end_turn(absl::Span<const Slot> built, UserState& user) {
  const auto& rules = core_->rules->compiled().rules;
  if (std::any_of(built.begin(), built.end(),
                  [&](Slot slot) { return rules[slot].follows || rules[slot].followed; })) {
    core_->settle(user);
  }
}

}  // namespace segmentd

// All that is kept of one user: a base, folded up to where no late event can reach, the facts since
// then, and the present.
//
// Invariant: `present` is what folding `facts` and `writes`, with the deadlines between them, onto
// `base` gives at moment `now`, but for what is settled. A late event is a fact inserted and the
// fold done again. Whatever is here is a function of the user's own records and of the clock.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "segment/change.h"
#include "segment/event.h"
#include "segment/profile.h"
#include "segment/segment_states.h"
#include "segment/time.h"

namespace segmentd {

// That an event met a condition.
struct Fact {
  EventOrder order;
  // Fingerprint of the condition (RuleSet's atom), the same in every build of the rules that has
  // it.
  uint64_t atom = 0;
  // What the condition's segments need of the event: a fingerprint of a property's value, or the
  // bits of a number; 0 when it is missing or nothing is needed.
  uint64_t value = 0;
  // The event's own time. It lies before order.time for an event that came too late, which counts
  // for measures alone.
  Time at;
  bool operator==(const Fact&) const = default;
};

// The result of a fold.
struct FoldState {
  Profile profile;
  SegmentStates segments;
  // The first so many of UserState::writes are in `profile`, and of UserState::facts in the rest.
  // The others came too late and lie ahead.
  uint32_t writes_applied = 0;
  uint32_t facts_applied : 31 = 0;
  // The user's first event is in it.
  bool exists : 1 = false;
  bool operator==(const FoldState&) const = default;
};

// What an inner segment was before its definition changed is not kept. So the live segments that
// refer to others stand in the base as they stood at that change, and what is folded onto it leaves
// out what earlier records mean to them, but for their measures. The past behaviour that they
// depend on is for all moments before the change what it was at it.
struct Settled {
  // Records from before this offset are left out, and so are moments up to `at`.
  Offset before;
  Time at = Time::Min();
  // The number of the latest change that it is for (ActiveSegment::change_number): `before` and
  // `at` don't tell two apart that come before the same record.
  uint64_t change_number = 0;
  bool operator==(const Settled&) const = default;
};

struct Base : FoldState {
  // The facts, writes and deadlines up to here are in it: an event older than this can't be
  // inserted any more.
  Time until = Time::Min();
  Settled settled;
  bool operator==(const Base&) const = default;
};

// A message ID seen, for the recognition of duplicates.
struct SeenMessage {
  static constexpr Offset kUnknown{-1};

  // Never 0.
  uint64_t id = 0;
  Time record_time;
  // kUnknown in images of older formats.
  Offset offset = kUnknown;
  bool operator==(const SeenMessage&) const = default;
};

struct UserState {
  FoldState present;
  // Null: as of before everything.
  std::unique_ptr<Base> base;
  // Sorted by order; those of one event stand together.
  std::vector<Fact> facts;
  // Sorted by (effective, offset).
  std::vector<ProfileWrite> writes;
  // In the order of offsets.
  std::vector<SeenMessage> seen;

  // The earliest event time; Time::Max() while no record was understood: such a user does not
  // exist. And the first offset with that time.
  Time exists_since = Time::Max();
  Offset exists_offset;
  Time newest_event = Time::Min();
  // Deadlines up to here have fired.
  Time now = Time::Min();
  // The newest deadline that has fired.
  Time decided = Time::Min();
  // The earliest deadline still to fire, or moment from which something that came too late counts;
  // Time::Max() for none. A deadline may turn out to have no effect.
  Time next_deadline = Time::Max();

  // Which rules of its engine this state was last taken over to; not stored.
  uint32_t rules_generation = 0;

  Time base_time() const { return base == nullptr ? Time::Min() : base->until; }
  Settled settled() const { return base == nullptr ? Settled() : base->settled; }
};
static_assert(sizeof(UserState) <= 192, "three lines of cache");

// Asks the processor for what apply() will touch first. A user's next event finds its state out of
// the cache, so whoever has a batch of events calls this for each of their users some events ahead.
//
// Inline whatever happens: GCC 12 takes a function that only prefetches for one without effect, and
// drops its calls.
[[gnu::always_inline]] inline void Prefetch(const UserState& user) {
  user.present.segments.prefetch();
  __builtin_prefetch(user.seen.data());
  __builtin_prefetch(user.seen.data() + user.seen.size(), /*rw=*/1);
  __builtin_prefetch(user.facts.data());
  __builtin_prefetch(user.facts.data() + user.facts.size(), /*rw=*/1);
}

// Whether the user is in the segment, by the present.
bool IsMember(const UserState& user, Slot slot);

// A hash of the memberships and the next deadline; its sum over all users tells a wrong recovery.
uint64_t StateHash(const UserState& user);

}  // namespace segmentd

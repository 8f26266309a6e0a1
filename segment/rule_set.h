// The definitions of a task, compiled: every distinct condition once, as an atom, with an index
// that leads an event to its atoms.
//
// Lookup: event name -> value of an equality's property (the pivot) -> the remaining predicates.
// Immutable once built; any thread may read it.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

#include "proto/segments/v1/definition.pb.h"
#include "segment/change.h"
#include "segment/event.h"
#include "segment/fields.h"

namespace segmentd {

// A definition as a task runs it.
struct ActiveSegment {
  Slot slot = 0;
  segments::v1::Segment segment;
  // Only records from here on count as triggers, cancellations and exits.
  Offset activation_offset;
  // The partition clock at activation.
  Time activation_clock = Time::Min();
  // Deleted, and not yet gone from every user's state: not evaluated any more.
  bool deleting = false;
  // Its history is added, for everybody. Otherwise only those users are evaluated for whom
  // Engine::build() was called.
  bool built = true;
  // Measures count records from here on; those before come with Engine::build().
  Offset history_offset;
  // Not evaluated; memberships stay.
  bool paused = false;
  // Paused while consumers were being told of its members, each when their state was built.
  bool telling = false;
  // Where the version, the pause or the deletion began, and the partition clock then.
  Offset changed_offset;
  Time changed_clock = Time::Min();
  // The number of that change: later ones have higher numbers, also where they come before the same
  // record and the clock has not moved. 0 for one from before changes had numbers.
  uint64_t change_number = 0;
};

// In whichever versions. One that was made again under the ID of a deleted one is another.
bool SameSegment(const segments::v1::Segment& a, const segments::v1::Segment& b);
// And in the same version: one made again has the versions anew.
bool SameVersion(const segments::v1::Segment& a, const segments::v1::Segment& b);

class RuleSet {
 public:
  // INVALID_ARGUMENT names the segment and the path that can't be run. Slots are distinct.
  static absl::StatusOr<std::shared_ptr<const RuleSet>> Compile(
      std::vector<ActiveSegment> segments);
  ~RuleSet();

  const Fields& fields() const;
  // By slot; null when the slot is not in use.
  const ActiveSegment* segment(Slot slot) const;
  // Null for an unknown ID, and for a segment that is being deleted.
  const ActiveSegment* find(std::string_view id) const;
  const std::vector<ActiveSegment>& segments() const;
  size_t atoms() const;

  // What the engine works on; see compiled_rules.h.
  struct Compiled;
  const Compiled& compiled() const { return *compiled_; }

 private:
  explicit RuleSet(std::unique_ptr<const Compiled> compiled);
  std::unique_ptr<const Compiled> compiled_;
};

}  // namespace segmentd

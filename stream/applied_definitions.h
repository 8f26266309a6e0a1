// The definitions that one task runs, each in its slot, and how to get from them to those wanted.
//
// The task records every step of this in its changelog, because the definitions topic forgets old
// versions and a replay runs under those that were in force. A segment's life in a slot:
//
//   wanted -> applied (version 1) -> applied (version n) -> deleting -> slot free
//
// A version that has to be evaluated for users whose events came before it (it counts the past, or
// reads a date, or ends a shadow, or refers to one that is evaluated so) goes through phases before
// it is ACTIVE:
//
//   BUILDING: the input before its history_offset is read; what comes from there on is counted,
//             and waits
//   ACTIVATING: user by user, what was read is added and the segment evaluated
//
// A slot is reused only when no user's state names it any more. A segment that is deleted and made
// again under the same ID waits for the old one's slot to be free, so that its consumers see the
// old memberships end before new ones begin.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"

#include "proto/segments/v1/definition.pb.h"
#include "proto/segments/v1/state.pb.h"
#include "segment/rule_set.h"
#include "segment/segment_states.h"

namespace segmentd {

// How far a task is with one segment.
struct DefinitionStatus {
  // The version that runs; 0 for none.
  int64_t version = 0;
  // Its members are being removed.
  bool deleting = false;
  // The next version waits for this one, unless it is paused.
  bool keeps_version = false;
  // Its history is still being evaluated, and how much of it is, from 0 to 1.
  bool building = false;
  double progress = 0;
  // Not evaluated; by the guard: because more changes came than max_changes_per_minute allows.
  bool paused = false;
  bool paused_by_guard = false;
  // The wanted version that can't be run, and why; empty when there is none.
  int64_t rejected_version = 0;
  std::string rejected;
};
// By segment ID.
using DefinitionStatuses = absl::flat_hash_map<std::string, DefinitionStatus>;

// Whether the segment asks something of the records before it: it has conditions on events of the
// past, or reads common properties, which the profile has only from when somebody began to read
// them.
bool ReadsPast(const segments::v1::Segment& segment);
// The IDs of the segments that it refers to, each once.
std::vector<std::string> ReferencedSegments(const segments::v1::Segment& segment);

// That the topic ends at `end`, before what was run, and what to do.
std::string LostDefinitions(std::string_view topic, Offset end, Offset run);

class AppliedDefinitions {
 public:
  // From the changelog, in any order.
  void restore(segments::v1::AppliedDefinition definition);
  void restore_last_change_number(uint64_t number) {
    last_change_number_ = std::max(last_change_number_, number);
  }

  // The rules of what is applied. An error means that this version of segmentd can't run what an
  // older one ran.
  absl::StatusOr<std::shared_ptr<const RuleSet>> compile() const;

  // Whether there is anything to do to get to `wanted`; segments that were rejected before are
  // tried again only in another version.
  bool differ(const std::vector<segments::v1::Segment>& wanted) const;

  // The way from here to `wanted`, as of one point of the input.
  struct Change {
    // To be recorded, one a slot.
    std::vector<segments::v1::AppliedDefinition> definitions;
    // Of all that is applied then.
    std::shared_ptr<const RuleSet> rules;
    // A slot goes on with another version, or users are settled: all their states must be taken
    // over.
    bool edits = false;
    // Segments that can't be run, with the version and why.
    std::map<std::string, DefinitionStatus> rejected;
  };
  // `nobody`: there is no user yet whose past could count.
  Change plan(const std::vector<segments::v1::Segment>& wanted, Offset activation_offset,
              Time activation_clock, bool nobody = false) const;
  void apply(const Change& change);

  // The same definitions in the next phase (ACTIVATING, ACTIVE).
  Change enter(segments::v1::AppliedDefinition::Phase phase, const std::vector<Slot>& slots) const;
  // Paused because too many changes came.
  Change pause(const std::vector<Slot>& slots, Offset offset, Time clock) const;

  // Those in the phase that are neither paused nor being deleted.
  std::vector<Slot> in_phase(segments::v1::AppliedDefinition::Phase phase) const;
  // Of `slots`, all BUILDING, those that can be activated together: what they refer to is ACTIVE or
  // paused, or among them, and so are the live segments that filter by them.
  std::vector<Slot> ready(std::vector<Slot> slots) const;
  // Of the segments in `slots` the rules alone, to read their history by.
  absl::StatusOr<std::shared_ptr<const RuleSet>> compile(const std::vector<Slot>& slots) const;
  // Whether consumers have been told of the slot's member with this state; null for none.
  bool told(Slot slot, const SegmentState* state) const;

  // The segments whose members are to be removed.
  std::vector<Slot> deleting() const;
  // Nobody's state names the slot any more.
  void free(Slot slot) { by_slot_.erase(slot); }

  // The number of the latest change. Not one of a slot in use, where that was a deletion and the
  // slot is free again: so it is recorded by itself.
  uint64_t last_change_number() const { return last_change_number_; }
  // The number behind the highest slot in use.
  Slot slots() const { return by_slot_.empty() ? 0 : by_slot_.rbegin()->first + 1; }
  const std::map<Slot, segments::v1::AppliedDefinition>& by_slot() const { return by_slot_; }
  DefinitionStatuses statuses() const;

 private:
  std::map<Slot, segments::v1::AppliedDefinition> by_slot_;
  std::map<std::string, DefinitionStatus> rejected_;
  uint64_t last_change_number_ = 0;
};

}  // namespace segmentd

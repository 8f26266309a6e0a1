// What RuleSet::Compile makes: tests, atoms, live rules, filters and the index from an event to its
// atoms.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/inlined_vector.h"

#include "segment/calendar.h"
#include "segment/fields.h"
#include "segment/key_table.h"
#include "segment/measure.h"
#include "segment/predicate.h"
#include "segment/rule_set.h"
#include "segment/settings.h"

namespace segmentd {

// One predicate on one field of an event; distinct ones only.
struct Test {
  enum class Kind : uint8_t {
    kPredicate,
    // `field` is a URL with another host than the one in `other`.
    kExternal,
  };
  Kind kind = Kind::kPredicate;
  FieldIndex field = 0;
  FieldIndex other = Fields::kNone;
  Predicate predicate;
};

// What a hit means to a segment; a set of these for one event.
using Roles = uint8_t;
inline constexpr Roles kTriggers = 1;
inline constexpr Roles kCancels = 2;
inline constexpr Roles kExits = 4;
// Keeps a session going, or is a page to be counted.
inline constexpr Roles kIsPage = 8;
// Counts for one of the segment's measures.
inline constexpr Roles kMeasured = 16;

struct Subscription {
  Slot slot = 0;
  Roles roles = 0;
  // Of a trigger: its index in the definition. Of a sequence's event or absence: its step.
  uint8_t trigger = 0;
  // Of kMeasured, which stands alone: index of the measure.
  uint16_t measure = 0;
};

// A distinct event condition.
struct Atom {
  // Of the event name, the tests and the needed property; names the atom in stored facts.
  uint64_t fingerprint = 0;
  std::string event;
  absl::InlinedVector<uint32_t, 2> tests;
  // The property whose value a fact carries; Fields::kNone for none.
  FieldIndex needed = Fields::kNone;
  // A fact carries the value as a number (the bits of a double, 0 for what is none) instead of its
  // fingerprint.
  bool numeric = false;
  // Some measure counts it.
  bool measured = false;
  // False when every subscriber is order-free: hits then need not be kept for late events.
  bool kept = false;
  std::vector<Subscription> subscriptions;
};

// The atoms of one event name.
struct EventIndex {
  struct Pivot {
    FieldIndex field = 0;
    // By ValueFingerprint.
    absl::flat_hash_map<uint64_t, std::vector<uint32_t>> atoms;
  };
  std::vector<Pivot> pivots;
  std::vector<uint32_t> unpivoted;
};

// An expression in prefix order: children follow their parent.
struct ExpressionNode {
  enum class Kind : uint8_t { kAllOf, kAnyOf, kNot, kProperty, kDid, kInSegment };
  Kind kind = Kind::kProperty;
  // Index just behind the node's last descendant.
  uint32_t end = 0;
  std::string property;
  Predicate predicate;
  // Of a `did`: its measures in the rule, all of which must hold.
  uint16_t first_measure = 0;
  uint16_t end_measure = 0;
  // Of in_segment; kNoSlot for a segment that is not there: nobody is in it.
  Slot slot = 0;
};
inline constexpr Slot kNoSlot = UINT32_MAX;

// Where a version began to count, and the partition clock then.
struct ActivationPoint {
  Offset offset;
  Time clock;
  auto operator<=>(const ActivationPoint&) const = default;
};

// A definition as the fold runs it.
struct Rule {
  enum class Kind : uint8_t {
    kActions,
    kReferrer,
    kPagesOfSession,
    kPagesWithin,
    kInaction,
    kDateTime,
    kSequence,
    kPast,
  };
  enum class Exit : uint8_t {
    kNever,
    kAfter,
    kOn,
    // Inaction's default: at a does_not_do event.
    kCancel,
  };
  // A step of a sequence.
  struct Step {
    bool absence = false;
    // Max: no limit.
    Duration within;
  };

  // False: the slot is free, or its segment is paused or being deleted.
  bool runs = false;
  // Does not run: see ActiveSegment.
  bool telling = false;
  // For everybody. Otherwise only for users whose state says so: the history is being added.
  bool built = true;
  Kind kind = Kind::kActions;
  Exit exit = Exit::kNever;
  bool repeat = false;
  bool restart = false;
  bool match = false;
  bool distinct = false;
  bool yearly = false;
  // Membership is "has ever qualified": the order of events does not matter, so hits need not be
  // kept.
  bool order_free = false;
  // Would be order-free, but others refer to it.
  bool kept_for_others = false;
  Slot slot = 0;
  // Segments are evaluated by rank: after those that they refer to.
  uint32_t rank = 0;
  int32_t version = 0;
  uint32_t at_least = 0;
  Duration within;
  Duration exit_after;
  Offset activation_offset;
  Offset history_offset;
  Time activation_clock = Time::Min();
  // Event names of the triggers, by index; of a sequence's steps, empty for absences.
  std::vector<std::string> triggers;
  std::vector<Step> steps;
  // Of past behaviour the definition itself, otherwise the filter.
  std::vector<ExpressionNode> expression;
  std::vector<Measure> measures;
  // Past-behaviour segments that refer to this one.
  std::vector<Slot> dependents;
  // All that refer to this one, and those that this one refers to.
  std::vector<Slot> outer;
  std::vector<Slot> inner;
  bool reads_profile = false;
  // It refers to one that is not there.
  bool lacks_inner = false;
  // A live segment whose filter refers to others.
  bool follows = false;
  // And follows nothing but past behaviour and what is paused, at any depth: since the latest
  // activation or pause among it and all that it depends on.
  bool follows_past = false;
  ActivationPoint followed_since;
  // Such a segment's membership depends on this one, at any depth.
  bool followed = false;

  // Of kDateTime.
  std::string property;
  Duration offset;
  std::optional<Duration> time_of_day;
  std::shared_ptr<const Calendar> calendar;
};

// No trigger is known (the member was taken over from another version).
inline constexpr uint8_t kNoTrigger = 255;

struct RuleSet::Compiled {
  std::vector<ActiveSegment> segments;
  Fields fields;
  std::vector<Test> tests;
  std::vector<Atom> atoms;
  absl::flat_hash_map<uint64_t, uint32_t> atom_by_fingerprint;
  // By event name: its place among the events.
  KeyTable event_names;
  std::vector<EventIndex> events;
  // By slot.
  std::vector<Rule> rules;
  // By rank: its slot, of all slots, in use or not.
  std::vector<Slot> by_rank;
  // Past-behaviour segments, built for everybody, which a user of whom nothing is known is in: with
  // the user's first event these are evaluated, whatever the event.
  std::vector<Slot> past;
  // Of the live rules that are not built for everybody, the earliest offset and the earliest clock.
  std::optional<ActivationPoint> building;
  // Those of them of which follows_past is true.
  std::vector<Slot> waiting;
  // Rules that follow, and those of past behaviour that are followed.
  std::vector<Slot> following;
  std::vector<Slot> followed_past;
  // Would be order-free, but others refer to them.
  std::vector<Slot> kept_for_others;
  // The latest change for which users must be settled (see Settled): of a rule that follows or is
  // followed. Those that follow count, too: a new one makes followed what changed long ago, and no
  // user may be settled as of long ago.
  ActivationPoint settled_before{Offset(), Time::Min()};
  uint64_t settled_change_number = 0;
  // Some segment is of past behaviour or on a date: memberships may change at a moment from which
  // something that came too late counts.
  bool has_past = false;
  // Common properties that some rule reads: what an event's context says of them becomes part of
  // the profile.
  std::vector<std::pair<FieldIndex, std::string>> common;
  // By profile property, the rules that change with it, and all that read it.
  absl::flat_hash_map<std::string, std::vector<Slot>> by_profile_property;
  absl::flat_hash_map<std::string, std::vector<Slot>> readers;
  std::vector<const ActiveSegment*> by_slot;
  absl::flat_hash_map<std::string, const ActiveSegment*> by_id;
};

}  // namespace segmentd

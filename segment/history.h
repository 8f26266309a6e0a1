// What the records before some point of the input have for rules that are being built: for their
// measures, each user's as summaries that Engine::build() takes in, and of the common properties
// that they read, each user's newest.
//
// No facts and no folding again: a summary is of a set of events, in whatever order they come. Of a
// filter, the events that a late trigger may come before stand apart, and enter the summary in the
// user's state as a fold comes to them. The rules by which an event counts are the engine's: one
// that came too late counts from the later of its record time and the user's newest event on, and a
// message ID seen within max_lateness makes a duplicate.
//
// Memory: for each user some 100 bytes with their ID, and the common properties that the rules read
// (at most 16 KiB each); for each of whom an event counts a MeasureState a measure of the rules
// (bounded as the users' own states are); and of each the messages that counted or said something
// of a common property within max_lateness of their newest record, at most max_message_ids (while
// they are read, twice that), and with filters among the rules also what counted and has no ID.
//
// add() and finish() are for one thread; after that any may read.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/inlined_vector.h"
#include "absl/types/span.h"

#include "segment/event.h"
#include "segment/matcher.h"
#include "segment/measure.h"
#include "segment/past.h"
#include "segment/rule_set.h"
#include "segment/settings.h"
#include "segment/user_state.h"

namespace segmentd {

class History {
 public:
  // All measures of `rules` are counted, whatever their history_offset.
  History(std::shared_ptr<const RuleSet> rules, const Settings& settings);
  ~History();
  History(const History&) = delete;
  History& operator=(const History&) = delete;

  const std::shared_ptr<const RuleSet>& rules() const { return rules_; }

  // The next record, of any user; a user's in the order of offsets. Its fields are those of
  // rules().
  void add(std::string_view user, const Event& event);
  // No more records.
  void finish();

  size_t users() const { return users_.size(); }
  int64_t records() const { return records_; }

  // The same segment in the same version is among the rules, and asks something of the past.
  bool has(const ActiveSegment& segment) const;

  // What the user's records have for the rule in `slot`; false for nothing. `seen` is what the
  // stream has seen of the user since: of an event that it has counted again, because nothing was
  // known of the first, this one is left out.
  bool take(std::string_view user, Slot slot, absl::Span<const SeenMessage> seen, Past* past) const;

 private:
  // An event of use that may still turn out to be one of two, or to lie behind a late trigger.
  struct Recent {
    uint64_t message = 0;
    Time record_time;
    Offset offset;
    Time at;
    // From which it counts.
    Time now;
    // By measure, the bits of the number.
    absl::InlinedVector<std::pair<uint32_t, uint64_t>, 1> counted;
    // Of common properties.
    bool said = false;
  };
  struct User {
    Time newest = Time::Min();
    // Of all rules, one after the other; empty until an event counts.
    std::vector<MeasureState> measures;
    std::vector<Recent> recent;
    // So many of the oldest of them are in `measures`, and on their way out.
    uint32_t counted = 0;
    // The newest of each property of RuleSet::Compiled::common; empty until there is one.
    std::vector<ProfileWrite> common;
  };

  // Whether it said something of them.
  bool note_common(const Event& event, User& user) const;
  void count(const Recent& event, std::vector<MeasureState>& measures) const;
  // Those recorded before `oldest` can't come again.
  void settle(Time oldest, User& user) const;
  User& user_of(std::string_view id);

  std::shared_ptr<const RuleSet> rules_;
  const Settings settings_;
  Matcher matcher_;
  // By slot: the place of its first measure.
  std::vector<uint32_t> first_;
  std::vector<const Measure*> measures_;
  // Some rule counts the past for a filter.
  bool filters_ = false;
  absl::flat_hash_map<std::string, uint32_t> index_;
  std::deque<User> users_;
  Time newest_record_ = Time::Min();
  Offset last_ = SeenMessage::kUnknown;
  int64_t records_ = 0;
  // Scratch.
  Recent event_;
};

}  // namespace segmentd

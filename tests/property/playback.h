// A history run through the engine, as a task would.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "segment/engine.h"
#include "segment/history.h"
#include "tests/property/history.h"
#include "tests/property/oracle.h"

namespace segmentd::property {

class Playback {
 public:
  // `in_portions`: after a change of definitions some users are only reached later.
  Playback(const Settings& settings, int users, bool in_portions = true);

  struct Step {
    // By user.
    std::vector<std::vector<Told>> told;
    // Of a record.
    std::optional<Outcome> outcome;
    // Users whose state of a deleted segment went, before all else in this step and after it.
    std::vector<std::pair<int, Slot>> removed_before;
    std::vector<std::pair<int, Slot>> removed_after;
    // Users who had their turn with a segment that counts the past, likewise.
    std::vector<std::pair<int, Slot>> turns_before;
    std::vector<std::pair<int, Slot>> turns_after;
  };
  Step step(const Item& item);

  Time clock() const { return clock_; }
  const UserState& user(int index) const { return users_[static_cast<size_t>(index)]; }
  const Engine& engine() const { return *engine_; }
  // False while a definition has changed and the user has not been taken over yet.
  bool settled(int index) const { return !unsettled_.contains(index); }

 private:
  void use_rules();
  // A task goes through its users in portions while records come in.
  void settle(int index, Changes* changes, std::vector<std::pair<int, Slot>>* removed,
              std::vector<std::pair<int, Slot>>* turns);
  // All users have been settled.
  void finish_settling();
  void read_history(Slot slot, Offset until);
  // As definitions may change amid a removal, though a slot is used again after it only, and a task
  // may restart amid all of it.
  bool goes_on(const Item& item) const;
  void settle_all(Step* step);
  // It refers to no other segment, and none refers to it.
  bool stands_alone(const ActiveSegment& segment) const;
  Outcome apply(const Record& record, Changes* changes);
  // Calls `use` with the record as `fields` have it.
  template <typename Use>
  static void with_event(const Record& record, Offset offset, const Fields& fields, const Use& use);

  Settings settings_;
  bool in_portions_;
  Time clock_ = Time::Min();
  Time newest_record_ = Time::Min();
  // As a task has it: several items may lie between two records.
  Offset of_next_record_;
  int steps_ = 0;
  std::map<Slot, ActiveSegment> segments_;
  std::map<Slot, int64_t> versions_;
  uint64_t changes_ = 0;
  std::optional<Engine> engine_;
  std::vector<UserState> users_;
  std::set<int> unsettled_;
  std::vector<std::pair<Offset, Record>> records_;
  // Of the segments that are not built for everybody.
  std::map<Slot, std::unique_ptr<segmentd::History>> histories_;
  std::map<Slot, segments::v1::Reason> reasons_;
};

// What the engine does against what the oracle says, item by item: the first difference, or
// nothing.
std::string Difference(const History& history);

// What must hold of a user's state alone: bounds and order; nothing when it does.
std::string Disorder(const UserState& user, const Settings& settings);

std::string Describe(const Told& told);

}  // namespace segmentd::property

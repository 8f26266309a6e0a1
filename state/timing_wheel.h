// The deadlines of a task's users: a hierarchical timing wheel (Varghese and Lauck, SOSP '87,
// scheme 7).
//
// Eight levels of 256 slots cover all 64-bit milliseconds. A deadline stands on the level of the
// highest byte in which it differs from the wheel's position, in the slot of that byte. When the
// position reaches a slot above level 0, its deadlines move down; on level 0 a slot is a
// millisecond.
//
// A user has at most one deadline here, the earliest that arm() was told, so memory is 16 bytes a
// user whatever happens. Nothing is taken back: when a user's deadline has moved to later or has
// gone, the old one comes out at its time, and the caller compares it with the user's next_deadline
// and arms that.
//
// One thread.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "segment/time.h"

namespace segmentd {

// A user's place in a task's UserStore.
using UserIndex = uint32_t;

class TimingWheel {
 public:
  struct Due {
    Time deadline;
    UserIndex user = 0;
    bool operator==(const Due&) const = default;
  };

  TimingWheel();

  // Keeps the earlier of `deadline` and the one that the user has; Time::Max() is none. A deadline
  // that has passed comes out with the next take().
  void arm(UserIndex user, Time deadline);

  // The user's deadline here, Time::Max() for none.
  Time armed(UserIndex user) const {
    return user < nodes_.size() ? FromKey(nodes_[user].key) : Time::Max();
  }

  // Appends deadlines up to and including `until` in ascending order, at most `limit` of them, in
  // no certain order at one moment; they are no longer here. True when there are no more. `until` <
  // Time::Max().
  bool take(Time until, size_t limit, std::vector<Due>* out);

  // No deadline is earlier; it may be earlier than the first one by less than the span of its slot.
  // Time::Max() when empty.
  Time next() const;

  // Users that have a deadline.
  size_t size() const { return size_; }
  size_t bytes() const;

 private:
  static constexpr int kLevels = 8;
  static constexpr int kSlots = 256;
  static constexpr uint32_t kNone = UINT32_MAX;
  // Time::Max(): no deadline.
  static constexpr uint64_t kNoKey = UINT64_MAX;

  // Times in their order as unsigned numbers.
  static constexpr uint64_t Key(Time t) { return static_cast<uint64_t>(t.millis()) ^ (1ULL << 63); }
  static constexpr Time FromKey(uint64_t key) {
    return Time::Millis(static_cast<int64_t>(key ^ (1ULL << 63)));
  }

  // A user's deadline, in the list of its slot.
  struct Node {
    uint64_t key = kNoKey;
    uint32_t previous = kNone;
    uint32_t next = kNone;
  };
  // A deadline before the position. Out of date, and ignored, when the user's node says otherwise.
  struct Passed {
    uint64_t key;
    UserIndex user;
  };
  static bool Later(const Passed& a, const Passed& b) { return a.key > b.key; }

  // Level * kSlots + slot of a key not before the position.
  int slot_of(uint64_t key) const;
  void link(UserIndex user);
  void unlink(UserIndex user);
  // The first occupied slot of `level` from `slot` on, kSlots when there is none.
  int occupied(int level, int slot) const;
  void drop_outdated();

  // Deadlines before it are in passed_; all others are in slots that begin after it, or in its own
  // on level 0.
  uint64_t position_ = 0;
  size_t size_ = 0;
  std::vector<Node> nodes_;
  // A heap, the earliest first.
  std::vector<Passed> passed_;
  std::array<uint32_t, size_t{kLevels} * kSlots> heads_;
  std::array<uint64_t, size_t{kLevels} * kSlots / 64> occupied_{};
};

}  // namespace segmentd

#include "state/timing_wheel.h"

#include <algorithm>
#include <bit>
#include <cassert>
#include <utility>

namespace segmentd {

TimingWheel::TimingWheel() {
  heads_.fill(kNone);
}

int TimingWheel::slot_of(uint64_t key) const {
  const uint64_t differs = key ^ position_;
  const int level = (63 - std::countl_zero(differs | 1)) / 8;
  return level * kSlots + static_cast<int>(key >> (8 * level) & 0xff);
}

void TimingWheel::link(UserIndex user) {
  Node& node = nodes_[user];
  const int slot = slot_of(node.key);
  uint32_t& head = heads_[slot];
  node.previous = kNone;
  node.next = head;
  if (head != kNone) {
    nodes_[head].previous = user;
  } else {
    occupied_[slot / 64] |= 1ULL << (slot % 64);
  }
  head = user;
}

void TimingWheel::unlink(UserIndex user) {
  const Node& node = nodes_[user];
  if (node.next != kNone) nodes_[node.next].previous = node.previous;
  if (node.previous != kNone) {
    nodes_[node.previous].next = node.next;
    return;
  }
  // Where a key stands changes only when its slot is emptied, so the position of now finds it.
  const int slot = slot_of(node.key);
  heads_[slot] = node.next;
  if (node.next == kNone) occupied_[slot / 64] &= ~(1ULL << (slot % 64));
}

void TimingWheel::arm(UserIndex user, Time deadline) {
  const uint64_t key = Key(deadline);
  if (user >= nodes_.size()) {
    if (key == kNoKey) return;
    nodes_.resize(user + size_t{1});
  }
  Node& node = nodes_[user];
  if (key >= node.key) return;
  if (node.key == kNoKey) {
    ++size_;
  } else if (node.key >= position_) {
    unlink(user);
  }
  node.key = key;
  if (key >= position_) return link(user);
  passed_.push_back({key, user});
  std::push_heap(passed_.begin(), passed_.end(), Later);
}

int TimingWheel::occupied(int level, int slot) const {
  for (int word = slot / 64; word < kSlots / 64; ++word) {
    uint64_t bits = occupied_[level * (kSlots / 64) + word];
    if (word == slot / 64) bits &= ~0ULL << (slot % 64);
    if (bits != 0) return word * 64 + std::countr_zero(bits);
  }
  return kSlots;
}

void TimingWheel::drop_outdated() {
  while (!passed_.empty() && nodes_[passed_.front().user].key != passed_.front().key) {
    std::pop_heap(passed_.begin(), passed_.end(), Later);
    passed_.pop_back();
  }
}

bool TimingWheel::take(Time until, size_t limit, std::vector<Due>* out) {
  assert(until < Time::Max());
  const uint64_t last = Key(until);
  auto release = [this, out](UserIndex user) {
    out->push_back({FromKey(nodes_[user].key), user});
    nodes_[user].key = kNoKey;
    --size_;
  };

  for (drop_outdated(); !passed_.empty() && passed_.front().key <= last; drop_outdated()) {
    if (limit == 0) return false;
    --limit;
    std::pop_heap(passed_.begin(), passed_.end(), Later);
    release(passed_.back().user);
    passed_.pop_back();
  }

  for (;;) {
    int level = 0;
    int slot = occupied(0, static_cast<int>(position_ & 0xff));
    while (slot == kSlots && ++level < kLevels) {
      slot = occupied(level, static_cast<int>(position_ >> (8 * level) & 0xff));
    }
    uint64_t begin = kNoKey;
    if (slot < kSlots) {
      const int shift = 8 * level;
      const uint64_t above = shift == 56 ? 0 : position_ >> (shift + 8) << (shift + 8);
      begin = above | static_cast<uint64_t>(slot) << shift;
    }
    if (slot == kSlots || begin > last) {
      position_ = std::max(position_, last);
      return true;
    }
    position_ = begin;
    uint32_t& head = heads_[level * kSlots + slot];
    if (level == 0) {
      for (; head != kNone && limit > 0; --limit) {
        const UserIndex user = head;
        head = nodes_[user].next;
        release(user);
      }
      if (head != kNone) {
        nodes_[head].previous = kNone;
        return false;
      }
    }
    const int whole = level * kSlots + slot;
    occupied_[whole / 64] &= ~(1ULL << (whole % 64));
    // Above level 0: move down, to where the new position says.
    for (uint32_t user = std::exchange(head, kNone); user != kNone;) {
      const uint32_t next = nodes_[user].next;
      link(user);
      user = next;
    }
  }
}

Time TimingWheel::next() const {
  // Out-of-date entries only make the bound lower.
  if (!passed_.empty()) return FromKey(passed_.front().key);
  for (int level = 0; level < kLevels; ++level) {
    const int shift = 8 * level;
    const int slot = occupied(level, static_cast<int>(position_ >> shift & 0xff));
    if (slot == kSlots) continue;
    const uint64_t above = shift == 56 ? 0 : position_ >> (shift + 8) << (shift + 8);
    return FromKey(above | static_cast<uint64_t>(slot) << shift);
  }
  return Time::Max();
}

size_t TimingWheel::bytes() const {
  return sizeof *this + nodes_.capacity() * sizeof(Node) + passed_.capacity() * sizeof(Passed);
}

}  // namespace segmentd

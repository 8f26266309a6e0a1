// Numbers by short strings: object keys and event names, looked up several times an event.
//
// A hash table with open addressing and linear probing, at most half full. A key of up to 16 bytes
// is told by its length and two words that overlap, read without a loop or a call. Of a longer one
// the second word is a digest, and the key is compared as a whole besides.
//
// The keys come from definitions, of which there are thousands at most: that somebody may choose
// keys that collide is not guarded against.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "segment/unaligned.h"

namespace segmentd {

class KeyTable {
 public:
  static constexpr uint32_t kNone = UINT32_MAX;

  // The number of `key`: `number`, where the key is new. `number` < kNone.
  uint32_t add(std::string_view key, uint32_t number) {
    if (const uint32_t known = find(key); known != kNone) return known;
    if (slots_.size() < 2 * (keys_.size() + 1)) grow();
    insert({Words::Of(key), static_cast<uint32_t>(keys_.size()), number});
    keys_.emplace_back(key);
    return number;
  }

  // How many slots a look-up of one of the keys looks at, at most.
  size_t longest_probe() const {
    size_t longest = 0;
    for (size_t at = 0; at < slots_.size(); ++at) {
      if (slots_[at].number == kNone) continue;
      longest = std::max(longest, ((at - home(slots_[at].words)) & mask_) + 1);
    }
    return longest;
  }

  // kNone where it was not added.
  uint32_t find(std::string_view key) const {
    const Words words = Words::Of(key);
    for (size_t at = home(words);; at = (at + 1) & mask_) {
      const Slot& slot = slots_[at];
      if (slot.number == kNone) return kNone;
      if (slot.words == words && (key.size() <= kTold || is(slot, key))) return slot.number;
    }
  }

 private:
  // Keys up to here are told by their words.
  static constexpr size_t kTold = 2 * sizeof(uint64_t);

  struct Words {
    uint64_t first = 0;
    uint64_t last = 0;
    size_t size = 0;

    static Words Of(std::string_view key) {
      const char* begin = key.data();
      const size_t size = key.size();
      if (size > kTold) {
        uint64_t digest = ReadUnaligned<uint64_t>(begin + size - sizeof(uint64_t));
        for (size_t at = sizeof(uint64_t); at + sizeof(uint64_t) < size; at += sizeof(uint64_t)) {
          digest = Mix(digest, ReadUnaligned<uint64_t>(begin + at));
        }
        return {ReadUnaligned<uint64_t>(begin), digest, size};
      }
      if (size >= sizeof(uint64_t)) {
        return {ReadUnaligned<uint64_t>(begin),
                ReadUnaligned<uint64_t>(begin + size - sizeof(uint64_t)), size};
      }
      if (size >= sizeof(uint32_t)) {
        return {ReadUnaligned<uint32_t>(begin),
                ReadUnaligned<uint32_t>(begin + size - sizeof(uint32_t)), size};
      }
      if (size == 0) return {};
      return {static_cast<unsigned char>(begin[0]),
              ReadUnaligned<unsigned char>(begin + size / 2) |
                  static_cast<uint64_t>(ReadUnaligned<unsigned char>(begin + size - 1)) << 8,
              size};
    }
    bool operator==(const Words&) const = default;
  };
  struct Slot {
    Words words;
    // Its place among the keys.
    uint32_t key = 0;
    uint32_t number = kNone;
  };

  // Both halves of a product, of which every bit of both factors reaches the lower bits: wyhash's
  // step (Wang Yi, 2019), with two of its constants.
  static uint64_t Mix(uint64_t a, uint64_t b) {
    __extension__ using Wide = unsigned __int128;
    const Wide product = static_cast<Wide>(a ^ 0xa0761d6478bd642f) * (b ^ 0xe7037ed1a0b428db);
    return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
  }
  size_t home(const Words& words) const {
    return Mix(words.first + words.size, words.last) & mask_;
  }

  // Out of line, so that the registers that a call needs are free for the short keys.
  [[gnu::noinline]] bool is(const Slot& slot, std::string_view key) const {
    return keys_[slot.key] == key;
  }
  void insert(const Slot& slot) {
    size_t at = home(slot.words);
    while (slots_[at].number != kNone) at = (at + 1) & mask_;
    slots_[at] = slot;
  }
  void grow() {
    const std::vector<Slot> old = std::exchange(slots_, std::vector<Slot>(2 * slots_.size()));
    mask_ = slots_.size() - 1;
    for (const Slot& slot : old) {
      if (slot.number != kNone) insert(slot);
    }
  }

  std::vector<Slot> slots_ = std::vector<Slot>(2);
  size_t mask_ = 1;
  std::vector<std::string> keys_;
};

}  // namespace segmentd

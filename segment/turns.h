// The segments of a step that are still to be decided, lowest rank first.
//
// A set of bits: a segment is added in the same time whatever else is in it, where a sorted list
// would move what comes later, and taking all out costs the words between the lowest and the
// highest, two for 100 segments.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace segmentd {

class Turns {
 public:
  explicit Turns(size_t ranks) : words_((ranks + kBits - 1) / kBits) {}

  void add(uint32_t rank) {
    const size_t word = rank / kBits;
    words_[word] |= uint64_t{1} << rank % kBits;
    begin_ = std::min(begin_, word);
    end_ = std::max(end_, word + 1);
  }

  bool empty() const { return end_ == 0; }

  // Takes the lowest out. False when there is none.
  bool take(uint32_t* rank) {
    for (; begin_ < end_; ++begin_) {
      uint64_t& word = words_[begin_];
      if (word == 0) continue;
      *rank = static_cast<uint32_t>(begin_ * kBits) + static_cast<uint32_t>(std::countr_zero(word));
      word &= word - 1;
      return true;
    }
    begin_ = SIZE_MAX;
    end_ = 0;
    return false;
  }

 private:
  static constexpr size_t kBits = 64;

  std::vector<uint64_t> words_;
  // Words outside have no bits.
  size_t begin_ = SIZE_MAX;
  size_t end_ = 0;
};

}  // namespace segmentd

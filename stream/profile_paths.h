// The dotted paths of profile properties, each once, numbered in order of their first appearance.
// Their texts do not move.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"

#include "segment/absl_view.h"
#include "stream/decoder.h"

namespace segmentd {

class ProfilePaths {
 public:
  // No path.
  static constexpr uint32_t kNone = UINT32_MAX;

  void clear() {
    texts_.clear();
    numbers_.clear();
    chunk_ = 0;
    used_ = 0;
  }
  std::string_view text(uint32_t path) const { return texts_[path]; }

  // A path of one key, whose text outlives this use. kNone: too many, or too long.
  uint32_t root(std::string_view key) {
    return key.size() > kMaxProfilePathBytes ? kNone : number(key);
  }
  // `joint` is what stands between.
  uint32_t child(uint32_t parent, std::string_view joint, std::string_view key) {
    const std::string_view above = text(parent);
    const size_t size = above.size() + joint.size() + key.size();
    if (size > kMaxProfilePathBytes) return kNone;
    if (chunk_ == chunks_.size()) chunks_.push_back(std::make_unique<char[]>(kChunkBytes));
    char* const begin = chunks_[chunk_].get() + used_;
    char* end = std::copy(above.begin(), above.end(), begin);
    end = std::copy(joint.begin(), joint.end(), end);
    std::copy(key.begin(), key.end(), end);
    const size_t before = texts_.size();
    const uint32_t path = number({begin, size});
    if (texts_.size() != before) {
      used_ += size;
      if (used_ + kMaxProfilePathBytes > kChunkBytes) {
        ++chunk_;
        used_ = 0;
      }
    }
    return path;
  }

 private:
  static constexpr size_t kChunkBytes = size_t{64} * 1024;

  uint32_t number(std::string_view text) {
    const auto [at, added] =
        numbers_.try_emplace(AbslView(text), static_cast<uint32_t>(texts_.size()));
    if (added) {
      if (texts_.size() == kMaxProfilePaths) {
        numbers_.erase(at);
        return kNone;
      }
      texts_.push_back(text);
    }
    return at->second;
  }

  std::vector<std::string_view> texts_;
  absl::flat_hash_map<absl::string_view, uint32_t> numbers_;
  std::vector<std::unique_ptr<char[]>> chunks_;
  size_t chunk_ = 0;
  size_t used_ = 0;
};

}  // namespace segmentd

// A user's image in records that a broker takes.
//
// An image of up to `part_bytes` is the value under the user's key as it is. A larger one is cut.
// The value under the user's key then begins with a byte 0, which no image does, and says how many
// parts there are; it holds the first. The others stand under keys of their own, before it in the
// log, in the same transaction:
//
//   under the user's key       0, parts (4 bytes), fingerprint (8 bytes), the image's first bytes
//   under part 1, 2, ...       fingerprint (8 bytes), its next bytes
//
// Numbers are little-endian. The fingerprint is the whole image's, ValueFingerprint of it as a
// string. Compaction takes superseded parts away one by one, so a reader may meet an image that
// lacks some: then a newer one follows. What an image no longer needs of the parts of the one
// before, the writer deletes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace segmentd {

// Records of an image of so many bytes; 1 for none.
size_t CountImageParts(size_t image_bytes, size_t part_bytes);

// Calls `write` with the number of each part and its value, which is valid until it returns, in the
// order in which they must be written: the one for the user's key, number 0, at last.
void CutImage(std::string_view image, size_t part_bytes,
              absl::FunctionRef<void(size_t part, std::string_view value)> write);

// Puts together what CutImage cut, from the records of a changelog in their order.
class ImagePartReader {
 public:
  // A part's record but the one under the user's key; without a value a tombstone. DATA_LOSS: it
  // can't be read.
  absl::Status take_part(std::string_view user, size_t part, std::optional<std::string_view> value);
  // The image by the value under the user's key, valid until the next call; nothing when parts of
  // it are gone.
  absl::StatusOr<std::optional<std::string_view>> take(std::string_view user,
                                                       std::string_view value);
  // After the last record. DATA_LOSS names a user whose newest image lacks parts.
  absl::Status finish() const;

 private:
  struct Part {
    uint64_t fingerprint = 0;
    std::string bytes;
  };
  // By user and part, of images that were not taken yet.
  std::map<std::string, std::map<size_t, Part>, std::less<>> parts_;
  // Users whose newest image so far lacks parts.
  std::set<std::string, std::less<>> lacking_;
  std::string image_;
};

}  // namespace segmentd

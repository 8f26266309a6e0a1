// Keys and values of the changelog topic.
//
//   key                               value
//   'u' user ID                       the user's image (state/user_codec.h)
//   'p' part, 4 bytes, user ID        a further part of it (state/image_parts.h)
//   'd' slot, 4 bytes                 AppliedDefinition
//   't'                               TaskRecord
//
// Numbers are big-endian. A tombstone takes its key's entry away. Stored data: never change or
// reuse a kind.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

#include "proto/segments/v1/state.pb.h"
#include "segment/change.h"

namespace segmentd {

enum class ChangelogKind : uint8_t {
  kUser = 'u',
  kImagePart = 'p',
  kDefinition = 'd',
  kTask = 't'
};

struct ChangelogKey {
  ChangelogKind kind = ChangelogKind::kTask;
  // Of kUser and kImagePart: a view into the key, not empty.
  std::string_view user;
  // Of kImagePart; from 1.
  uint32_t part = 0;
  // Of kDefinition.
  Slot slot = 0;
  bool operator==(const ChangelogKey&) const = default;
};

// Replaces `out` by the key.
void FormatChangelogKey(const ChangelogKey& key, std::string* out);

// UNIMPLEMENTED names a kind that this version does not know, DATA_LOSS says what is wrong with one
// that it does.
absl::StatusOr<ChangelogKey> ParseChangelogKey(std::string_view key);

// The layout of TaskRecord. Images of users have a format of their own.
inline constexpr uint32_t kTaskFormat = 1;

// Sets `format` to kTaskFormat. Equal records give equal bytes.
std::string FormatTaskRecord(segments::v1::TaskRecord record);
// UNIMPLEMENTED: written by a later version.
absl::StatusOr<segments::v1::TaskRecord> ParseTaskRecord(std::string_view value);

std::string FormatAppliedDefinition(const segments::v1::AppliedDefinition& definition);
// `slot`: of the key, which the value repeats.
absl::StatusOr<segments::v1::AppliedDefinition> ParseAppliedDefinition(Slot slot,
                                                                       std::string_view value);

}  // namespace segmentd

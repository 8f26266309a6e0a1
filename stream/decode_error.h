// Why an input record is not understood: what its dead letter says.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace segmentd {

enum class DecodeError : uint8_t {
  kNone,
  kMissingKey,
  kKeyMismatch,
  kTooLarge,
  kTooDeep,
  kTooLong,
  kEmptyBody,
  kUnknownContentType,
  kMalformedJson,
  kMalformedProtobuf,
  kInvalidUtf8,
  kBadNumber,
  kUnknownType,
  kBatch,
  kWrongType,
  kNoUser,
  kNoEventName,
  kBadTimestamp,
  kMissingTimestamp,
  kBadProfileCommand,
  kProfileTooLarge,
};
inline constexpr int kDecodeErrors = static_cast<int>(DecodeError::kProfileTooLarge) + 1;

// "malformed_json" and so on, for headers and metrics: stable, never reused for something else.
// Empty for kNone.
std::string_view DecodeErrorCode(DecodeError error);

// An error with what a person needs to mend its producer.
struct DecodeFailure {
  DecodeError error = DecodeError::kNone;
  std::string detail;
};

}  // namespace segmentd

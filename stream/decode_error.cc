#include "stream/decode_error.h"

namespace segmentd {

std::string_view DecodeErrorCode(DecodeError error) {
  switch (error) {
    case DecodeError::kNone:
      return "";
    case DecodeError::kMissingKey:
      return "missing_key";
    case DecodeError::kKeyMismatch:
      return "key_mismatch";
    case DecodeError::kTooLarge:
      return "too_large";
    case DecodeError::kTooDeep:
      return "too_deep";
    case DecodeError::kTooLong:
      return "too_long";
    case DecodeError::kEmptyBody:
      return "empty_body";
    case DecodeError::kUnknownContentType:
      return "unknown_content_type";
    case DecodeError::kMalformedJson:
      return "malformed_json";
    case DecodeError::kMalformedProtobuf:
      return "malformed_protobuf";
    case DecodeError::kInvalidUtf8:
      return "invalid_utf8";
    case DecodeError::kBadNumber:
      return "bad_number";
    case DecodeError::kUnknownType:
      return "unknown_type";
    case DecodeError::kBatch:
      return "batch";
    case DecodeError::kWrongType:
      return "wrong_type";
    case DecodeError::kNoUser:
      return "no_user";
    case DecodeError::kNoEventName:
      return "no_event_name";
    case DecodeError::kBadTimestamp:
      return "bad_timestamp";
    case DecodeError::kMissingTimestamp:
      return "missing_timestamp";
    case DecodeError::kBadProfileCommand:
      return "bad_profile_command";
    case DecodeError::kProfileTooLarge:
      return "profile_too_large";
  }
  return "";
}

}  // namespace segmentd

#include "stream/json_decoder.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

#include "absl/strings/escaping.h"
#include "fmt/format.h"
#include "simdjson.h"

#include "segment/absl_view.h"
#include "stream/decoder.h"
#include "stream/json_core.h"

namespace segmentd {

JsonDecoder::JsonDecoder() : core_(std::make_unique<Core>()) {}

JsonDecoder::~JsonDecoder() = default;

JsonDecoder::Result JsonDecoder::decode(std::string_view text, const Fields& fields, Body* body,
                                        DecodeFailure* failure) {
  core_->fields = &fields;
  core_->failure = failure;
  return core_->decode(text, body);
}

JsonDecoder::Result JsonDecoder::Core::decode(std::string_view body_text, Body* body) {
  constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
  if (body_text.substr(0, 3) == kByteOrderMark) body_text.remove_prefix(3);
  if (body_text.size() > text_capacity || text == nullptr) {
    text_capacity = std::max<size_t>(std::bit_ceil(body_text.size()), 4096);
    text = std::make_unique<char[]>(text_capacity + simdjson::SIMDJSON_PADDING);
    if (parser.allocate(text_capacity, kMaxJsonDepth + 2) != simdjson::SUCCESS) {
      fail(DecodeError::kTooLarge, "there is no memory for a body of this size");
      return Result::kFailed;
    }
  }
  std::memcpy(text.get(), body_text.data(), body_text.size());
  // What came before must not show through.
  std::memset(text.get() + body_text.size(), 0, simdjson::SIMDJSON_PADDING);
  text_begin = text.get();
  text_size = body_text.size();
  plain = std::memchr(text_begin, '\\', text_size) == nullptr;

  leave_out = true;
  if (!pass()) return Result::kFailed;
  if (type_changed) {
    leave_out = false;
    if (!pass()) return Result::kFailed;
  }
  if (conclude(body)) return Result::kOk;
  return event_message && scalar(BodyScalar::kType).kind == ScalarText::Kind::kAbsent
             ? Result::kEventMessage
             : Result::kFailed;
}

bool JsonDecoder::Core::fail(DecodeError error, std::string detail) {
  failure->error = error;
  failure->detail = std::move(detail);
  return false;
}

bool JsonDecoder::Core::too_deep() {
  return fail(DecodeError::kTooDeep,
              fmt::format("objects and lists are nested more than {} deep", kMaxJsonDepth));
}

bool JsonDecoder::Core::profile_too_large() {
  return fail(
      DecodeError::kProfileTooLarge,
      fmt::format("a record sets at most {} profile properties, with paths of at most {} bytes",
                  kMaxProfilePaths, kMaxProfilePathBytes));
}

bool JsonDecoder::Core::malformed(simdjson::error_code error) {
  // Which of several faults simdjson's first stage reports differs between processors; a dead
  // letter must not.
  if (error == simdjson::UTF8_ERROR || error == simdjson::UNCLOSED_STRING ||
      error == simdjson::UNESCAPED_CHARS) {
    if (!simdjson::validate_utf8(text_begin, text_size)) {
      return fail(DecodeError::kInvalidUtf8, "the body is not UTF-8");
    }
    return fail(DecodeError::kMalformedJson,
                "a string does not end, or holds a control character that is not escaped");
  }
  if (error == simdjson::EMPTY) return fail(DecodeError::kEmptyBody, "the body is blank");
  if (error == simdjson::TRAILING_CONTENT) {
    return fail(DecodeError::kMalformedJson,
                "something follows the object that is the body; send one record an event");
  }
  if (error == simdjson::STRING_ERROR) {
    return fail(DecodeError::kMalformedJson,
                "a string has an escape that JSON does not know, or half of a surrogate pair");
  }
  const size_t first = std::string_view(text_begin, text_size).find_first_not_of(kBlank);
  if (first == std::string_view::npos || text_begin[first] != '{')
    return fail(DecodeError::kMalformedJson, "the body is not a JSON object");
  // Told before anything is looked at: the last of the body closes nothing.
  if (error == simdjson::INCOMPLETE_ARRAY_OR_OBJECT) {
    return fail(DecodeError::kMalformedJson,
                "not JSON: it breaks off, a bracket is missing, or something follows the object");
  }
  const char* at = nullptr;
  if (document.current_location().get(at) == simdjson::SUCCESS && at >= text_begin &&
      at < text_begin + text_size) {
    return fail(DecodeError::kMalformedJson, fmt::format("not JSON near byte {}", at - text_begin));
  }
  return fail(DecodeError::kMalformedJson, "not JSON: it breaks off, or a bracket is missing");
}

std::string JsonDecoder::Core::quote(std::string_view text) {
  constexpr size_t kMost = 64;
  const bool cut = text.size() > kMost;
  while (cut && text.size() > kMost) {
    text = text.substr(0, kMost);
    // Not through a character.
    while (!text.empty() && (static_cast<unsigned char>(text.back()) & 0xC0) == 0x80)
      text.remove_suffix(1);
    if (!text.empty() && static_cast<unsigned char>(text.back()) >= 0xC0) text.remove_suffix(1);
  }
  return fmt::format("\"{}{}\"", absl::Utf8SafeCHexEscape(AbslView(text)), cut ? "…" : "");
}

}  // namespace segmentd

// Bodies in JSON: the Segment spec's and CleverTap's.
//
// One pass with simdjson on-demand, over keys in any order. Every value is visited, so that the
// whole body is checked, whatever is used of it.
#pragma once

#include <memory>
#include <string_view>

#include "segment/fields.h"
#include "stream/body.h"
#include "stream/decode_error.h"

namespace segmentd {

class JsonDecoder {
 public:
  JsonDecoder();
  ~JsonDecoder();

  enum class Result : uint8_t {
    kOk,
    kFailed,
    // Failed as neither format, but it may be the JSON mapping of segments.v1.Event.
    kEventMessage,
  };
  // `text` has at most kMaxEventBytes, is copied, and need not outlive the call. *body is set on
  // kOk, *failure otherwise.
  Result decode(std::string_view text, const Fields& fields, Body* body, DecodeFailure* failure);

 private:
  struct Core;
  std::unique_ptr<Core> core_;
};

}  // namespace segmentd

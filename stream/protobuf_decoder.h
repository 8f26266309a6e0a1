// Bodies in Protobuf: segments.v1.Event, read off the wire without building the message.
//
// Understands and refuses what the generated parser does.
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <vector>

#include "segment/fields.h"
#include "stream/body.h"
#include "stream/decode_error.h"
#include "stream/property_log.h"

namespace segmentd {

class ProtobufDecoder {
 public:
  // Views in *body are into `bytes` and into this decoder. False: *failure is set.
  bool decode(std::string_view bytes, const Fields& fields, Body* body, DecodeFailure* failure);

 private:
  struct Member;
  struct Target;
  class Pieces;
  bool property(std::string_view entry);
  bool command(std::string_view message);
  bool piece(std::string_view message, Pieces* pieces);
  bool value(std::string_view message, const Target& target, int depth);
  bool text(const Member& member, std::string_view* out);
  bool fail(DecodeError error, std::string detail);
  bool malformed();

  const Fields* fields_ = nullptr;
  DecodeFailure* failure_ = nullptr;
  PropertyLog found_;
  PropertyLog commanded_;
  // By the target of `commanded_`.
  std::vector<std::string_view> names_;
  // Messages that came in pieces.
  std::deque<std::string> joined_;
  ValueType type_ = ValueType::kMissing;
  uint64_t scope_ = 0;
  std::vector<EventProperty> properties_;
  std::vector<ProfileCommand> profile_;
};

}  // namespace segmentd

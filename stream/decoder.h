// Turns a record into an Event, or says why it can't be understood. docs/events.md describes the
// formats.
//
// A function of the record, the settings and the fields alone: never of the records before, nor of
// the batch. Whether a record is understood does not depend on the fields either: what no
// definition refers to is checked like the rest, and then left out.
#pragma once

#include <memory>
#include <string_view>

#include "segment/event.h"
#include "segment/fields.h"
#include "segment/settings.h"
#include "stream/decode_error.h"
#include "stream/io.h"

namespace segmentd {

// Of a record's value.
inline constexpr size_t kMaxEventBytes = size_t{256} * 1024;
// Objects and lists within each other; the body itself is the first.
inline constexpr int kMaxJsonDepth = 32;
// Of a user ID and of a message ID.
inline constexpr size_t kMaxIdBytes = 1024;
// Of one record's profile commands, and of the path of a property in them. (A profile holds 256
// properties.)
inline constexpr size_t kMaxProfilePaths = 4096;
inline constexpr size_t kMaxProfilePathBytes = 1024;

struct DecodeResult {
  DecodeError error = DecodeError::kNone;
  // The event time was too far ahead of the record time, which took its place.
  bool time_replaced = false;
  // For a person; valid until the next decode.
  std::string_view detail;

  bool ok() const { return error == DecodeError::kNone; }
};

// Owns the buffers that events are views into, and keeps them for the next record. One thread.
class Decoder {
 public:
  explicit Decoder(const Settings& settings);
  ~Decoder();
  Decoder(Decoder&&) noexcept;
  Decoder& operator=(Decoder&&) noexcept;

  // On success *event and *user are set, views that are valid until the next decode and while the
  // record is; otherwise they are unspecified.
  DecodeResult decode(const Record& record, const Fields& fields, Event* event,
                      std::string_view* user);

  // Of a line of JSON from a file, without Kafka: the user is the body's, the record time is the
  // event time, which must be there. The line need not outlive the call.
  DecodeResult decode_line(std::string_view line, Offset offset, const Fields& fields, Event* event,
                           std::string_view* user);

 private:
  struct Core;
  std::unique_ptr<Core> core_;
};

}  // namespace segmentd

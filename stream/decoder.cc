#include "stream/decoder.h"

#include <string>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/strip.h"
#include "fmt/format.h"
#include "google/protobuf/util/json_util.h"
#include "simdjson.h"

#include "proto/segments/v1/event.pb.h"
#include "segment/absl_view.h"
#include "stream/body.h"
#include "stream/json_decoder.h"
#include "stream/protobuf_decoder.h"

namespace segmentd {
namespace {

constexpr std::string_view kJsonType = "application/json";
constexpr std::string_view kProtobufType = "application/x-protobuf";

// The media type of the last content-type header, without parameters; empty without one.
std::string_view ContentType(const Record& record) {
  std::string_view type;
  for (const HeaderView& header : record.headers) {
    if (absl::EqualsIgnoreCase(AbslView(header.name), "content-type")) type = header.value;
  }
  return StdView(absl::StripAsciiWhitespace(AbslView(type.substr(0, type.find(';')))));
}

}  // namespace

struct Decoder::Core {
  explicit Core(const Settings& from) : settings(from) {}

  const Settings settings;
  JsonDecoder json;
  ProtobufDecoder protobuf;
  Body body;
  DecodeFailure failure;
  // An event in Protobuf's JSON, in Protobuf's bytes.
  std::string message;

  bool fail(DecodeError error, std::string detail) {
    failure.error = error;
    failure.detail = std::move(detail);
    return false;
  }
  DecodeResult failed() const { return {.error = failure.error, .detail = failure.detail}; }

  bool decode_body(std::string_view type, std::string_view value, const Fields& fields) {
    if (value.empty()) return fail(DecodeError::kEmptyBody, "the record has no value");
    if (value.size() > kMaxEventBytes) {
      return fail(DecodeError::kTooLarge,
                  fmt::format("the value has {} bytes; at most {} are allowed", value.size(),
                              kMaxEventBytes));
    }
    if (absl::EqualsIgnoreCase(AbslView(type), AbslView(kProtobufType))) {
      return protobuf.decode(value, fields, &body, &failure);
    }
    if (!type.empty() && !absl::EqualsIgnoreCase(AbslView(type), AbslView(kJsonType))) {
      return fail(DecodeError::kUnknownContentType,
                  fmt::format("the content-type is neither {} nor {}", kJsonType, kProtobufType));
    }
    switch (json.decode(value, fields, &body, &failure)) {
      case JsonDecoder::Result::kOk:
        return true;
      case JsonDecoder::Result::kFailed:
        return false;
      case JsonDecoder::Result::kEventMessage:
        break;
    }
    segments::v1::Event event;
    if (!google::protobuf::util::JsonStringToMessage(
             google::protobuf::StringPiece(value.data(), value.size()), &event)
             .ok() ||
        !event.SerializeToString(&message)) {
      return false;
    }
    return protobuf.decode(message, fields, &body, &failure);
  }

  bool check_key(const Record& record) {
    if (record.key == body.user) return true;
    if (!simdjson::validate_utf8(record.key.data(), record.key.size())) {
      return fail(DecodeError::kInvalidUtf8,
                  "the record's key is not UTF-8; it must be the user's ID");
    }
    return fail(DecodeError::kKeyMismatch, "the record's key is not the ID of the body's user");
  }

  void fill(Offset offset, Time time, Time record_time, Event* event,
            std::string_view* user) const {
    event->name = body.name;
    event->time = time;
    event->record_time = record_time;
    event->offset = offset;
    event->message_id = body.message_id;
    event->properties = body.properties;
    event->profile = body.profile;
    *user = body.user;
  }
};

Decoder::Decoder(const Settings& settings) : core_(std::make_unique<Core>(settings)) {}
Decoder::~Decoder() = default;
Decoder::Decoder(Decoder&&) noexcept = default;
Decoder& Decoder::operator=(Decoder&&) noexcept = default;

DecodeResult Decoder::decode(const Record& record, const Fields& fields, Event* event,
                             std::string_view* user) {
  Core& core = *core_;
  if (!record.has_key) {
    core.fail(DecodeError::kMissingKey, "the record has no key; it must be the user's ID");
    return core.failed();
  }
  if (!core.decode_body(ContentType(record), record.value, fields) || !core.check_key(record)) {
    return core.failed();
  }
  Time time = core.body.time.value_or(record.record_time);
  const bool ahead = time > record.record_time + core.settings.max_future_skew;
  if (ahead) time = record.record_time;
  core.fill(record.offset, time, record.record_time, event, user);
  return {.time_replaced = ahead};
}

DecodeResult Decoder::decode_line(std::string_view line, Offset offset, const Fields& fields,
                                  Event* event, std::string_view* user) {
  Core& core = *core_;
  if (!core.decode_body(kJsonType, line, fields)) return core.failed();
  if (!core.body.time) {
    core.fail(DecodeError::kMissingTimestamp,
              "the event has no time, and a file has no record time to take its place");
    return core.failed();
  }
  if (*core.body.time == Time::Max()) {
    core.fail(DecodeError::kBadTimestamp, "the event's time lies after the year 9999");
    return core.failed();
  }
  core.fill(offset, *core.body.time, *core.body.time, event, user);
  return {};
}

}  // namespace segmentd

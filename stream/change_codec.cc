#include "stream/change_codec.h"

#include <fmt/format.h>
#include <simdjson.h>

#include <array>
#include <charconv>
#include <cstring>
#include <limits>

#include "segment/time.h"
#include "segment/timestamp.h"

namespace segmentd {
namespace {

// How many bytes the UTF-8 sequence at the start of `text` has; 0 when it is none (overlong forms,
// surrogates and what is over U+10FFFF are none).
size_t SequenceLength(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const auto continues = [&](size_t i, unsigned low = 0x80, unsigned high = 0xBF) {
    return i < text.size() && byte(i) >= low && byte(i) <= high;
  };
  const unsigned lead = byte(0);
  if (lead < 0x80) return 1;
  if (lead < 0xC2) return 0;
  if (lead < 0xE0) return continues(1) ? 2 : 0;
  if (lead < 0xF0) {
    const unsigned low = lead == 0xE0 ? 0xA0 : 0x80;
    const unsigned high = lead == 0xED ? 0x9F : 0xBF;
    return continues(1, low, high) && continues(2) ? 3 : 0;
  }
  if (lead < 0xF5) {
    const unsigned low = lead == 0xF0 ? 0x90 : 0x80;
    const unsigned high = lead == 0xF4 ? 0x8F : 0xBF;
    return continues(1, low, high) && continues(2) && continues(3) ? 4 : 0;
  }
  return 0;
}

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

// Whether a byte can stand in a JSON string as it is, without a look at its neighbours.
constexpr std::array<bool, 256> kPlain = [] {
  std::array<bool, 256> plain{};
  for (size_t c = 0x20; c < 0x80; ++c) plain[c] = c != '"' && c != '\\';
  return plain;
}();

void AppendEscape(unsigned char c, std::string* out) {
  switch (c) {
    case '"':
      out->append("\\\"");
      return;
    case '\\':
      out->append("\\\\");
      return;
    case '\b':
      out->append("\\b");
      return;
    case '\f':
      out->append("\\f");
      return;
    case '\n':
      out->append("\\n");
      return;
    case '\r':
      out->append("\\r");
      return;
    case '\t':
      out->append("\\t");
      return;
    default: {
      constexpr std::string_view kHex = "0123456789abcdef";
      out->append("\\u00");
      out->push_back(kHex[c >> 4]);
      out->push_back(kHex[c & 15]);
    }
  }
}

// The content of a JSON string.
void AppendEscaped(std::string_view text, std::string* out) {
  size_t begin = 0;
  size_t i = 0;
  while (i < text.size()) {
    const auto c = static_cast<unsigned char>(text[i]);
    if (kPlain[c]) {
      ++i;
      continue;
    }
    if (c >= 0x80) {
      if (const size_t length = SequenceLength(text.substr(i)); length > 0) {
        i += length;
        continue;
      }
    }
    out->append(text, begin, i - begin);
    if (c >= 0x80) {
      out->append(kReplacement);
    } else {
      AppendEscape(c, out);
    }
    begin = ++i;
  }
  out->append(text, begin, text.size() - begin);
}

void AssignUtf8(std::string_view text, std::string* out) {
  out->clear();
  for (size_t i = 0; i < text.size();) {
    const size_t length = SequenceLength(text.substr(i));
    out->append(length > 0 ? text.substr(i, length) : kReplacement);
    i += length > 0 ? length : 1;
  }
}

void AppendNumber(int64_t number, std::string* out) {
  std::array<char, 20> digits;
  const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), number).ptr;
  out->append(digits.data(), end);
}

// proto3 enum names, without the reflection's look-up.
constexpr std::array<std::string_view, 4> kActions = {"ACTION_UNSPECIFIED", "ADD", "REMOVE",
                                                      "QUALIFIED"};
constexpr std::array<std::string_view, 15> kReasons = {
    "REASON_UNSPECIFIED", "TRIGGER",         "INACTION",       "DATE_TIME",
    "CONDITION_MET",      "CONDITION_LOST",  "WINDOW_SLID",    "EXPIRED",
    "EXIT_EVENT",         "PROFILE_CHANGED", "LATE_EVENT",     "LIST_UPDATED",
    "DEFINITION_CHANGED", "BACKFILLED",      "SEGMENT_DELETED"};
static_assert(kActions.size() == segments::v1::Action_ARRAYSIZE);
static_assert(kReasons.size() == segments::v1::Reason_ARRAYSIZE);

absl::Status Wrong(std::string_view what) {
  return absl::InvalidArgumentError(fmt::format("not a change: {}", what));
}

// Sets `out` and is true when `object` has the member and it is a string.
bool ReadString(simdjson::dom::object object, std::string_view name, std::string_view* out) {
  return object[name].get_string().get(*out) == simdjson::SUCCESS;
}

absl::Status ReadTime(simdjson::dom::object object, std::string_view name,
                      google::protobuf::Timestamp* out) {
  std::string_view text;
  Time time;
  if (!ReadString(object, name, &text) || !ParseTimestamp(text, &time)) {
    return Wrong(fmt::format("{} is no time", name));
  }
  SetTimestamp(time, out);
  return absl::OkStatus();
}

absl::StatusOr<segments::v1::MembershipChange> DecodeJson(std::string_view value) {
  // One a thread: a parser keeps its buffers.
  thread_local simdjson::dom::parser parser;
  simdjson::dom::element root;
  if (const auto error = parser.parse(value.data(), value.size()).get(root)) {
    return Wrong(simdjson::error_message(error));
  }
  simdjson::dom::object object;
  if (root.get_object().get(object)) return Wrong("no JSON object");

  std::string_view text;
  if (!ReadString(object, "type", &text) || text != "Segment Membership Change") {
    return Wrong("type is not \"Segment Membership Change\"");
  }
  segments::v1::MembershipChange change;
  Action action;
  if (!ReadString(object, "action", &text) ||
      !segments::v1::Action_Parse(std::string(text), &action)) {
    return Wrong("action is unknown");
  }
  change.set_action(action);
  Reason reason;
  if (!ReadString(object, "reason", &text) ||
      !segments::v1::Reason_Parse(std::string(text), &reason)) {
    return Wrong("reason is unknown");
  }
  change.set_reason(reason);

  const auto set = [&](std::string_view name, std::string* to) {
    if (!ReadString(object, name, &text)) return false;
    to->assign(text);
    return true;
  };
  if (!set("segment_id", change.mutable_segment_id())) return Wrong("segment_id is missing");
  if (!set("segment_name", change.mutable_segment_name())) return Wrong("segment_name is missing");
  if (!set("user_id", change.mutable_user_id())) return Wrong("user_id is missing");
  if (!set("change_id", change.mutable_change_id())) return Wrong("change_id is missing");
  set("customer_segment_id", change.mutable_customer_segment_id());
  int64_t version = 0;
  if (object["segment_version"].get_int64().get(version))
    return Wrong("segment_version is missing");
  change.set_segment_version(version);
  if (absl::Status status = ReadTime(object, "at", change.mutable_at()); !status.ok())
    return status;

  simdjson::dom::object cause;
  if (object["cause"].get_object().get(cause) == simdjson::SUCCESS) {
    if (!ReadString(cause, "event", &text)) return Wrong("cause.event is missing");
    change.mutable_cause()->set_event(text.data(), text.size());
    if (absl::Status status = ReadTime(cause, "at", change.mutable_cause()->mutable_at());
        !status.ok()) {
      return status;
    }
    if (ReadString(cause, "message_id", &text)) {
      change.mutable_cause()->set_message_id(text.data(), text.size());
    }
  }
  return change;
}

}  // namespace

absl::StatusOr<ChangeFormat> ParseChangeFormat(std::string_view name) {
  if (name == "json") return ChangeFormat::kJson;
  if (name == "protobuf") return ChangeFormat::kProtobuf;
  return absl::InvalidArgumentError(
      fmt::format("output format \"{}\" is unknown: give json or protobuf", name));
}

ChangeEncoder::ChangeEncoder(ChangeFormat format, std::string_view topic, Partition partition)
    : format_(format), id_prefix_(fmt::format("{}-{}:", topic, partition)) {}

void ChangeEncoder::append(const Change& change, const segments::v1::Segment& segment,
                           std::string_view user_id, int64_t number, std::string* out) {
  if (format_ == ChangeFormat::kJson) {
    append_json(change, segment, user_id, number, out);
  } else {
    append_protobuf(change, segment, user_id, number, out);
  }
}

void ChangeEncoder::append_json(const Change& change, const segments::v1::Segment& segment,
                                std::string_view user_id, int64_t number, std::string* out) const {
  out->append(R"({"type":"Segment Membership Change","action":")");
  out->append(kActions[static_cast<size_t>(change.action)]);
  out->append(R"(","segment_id":")");
  AppendEscaped(segment.id(), out);
  out->append(R"(","segment_name":")");
  AppendEscaped(segment.name(), out);
  if (const std::string& customer_id = segment.api().customer_segment_id(); !customer_id.empty()) {
    out->append(R"(","customer_segment_id":")");
    AppendEscaped(customer_id, out);
  }
  out->append(R"(","user_id":")");
  AppendEscaped(user_id, out);
  out->append(R"(","at":")");
  AppendTimestamp(change.at, out);
  out->append(R"(","reason":")");
  out->append(kReasons[static_cast<size_t>(change.reason)]);
  if (!change.cause_event.empty()) {
    out->append(R"(","cause":{"event":")");
    AppendEscaped(change.cause_event, out);
    out->append(R"(","at":")");
    AppendTimestamp(change.cause_at, out);
    if (!change.cause_message_id.empty()) {
      out->append(R"(","message_id":")");
      AppendEscaped(change.cause_message_id, out);
    }
    out->append(R"("},"segment_version":)");
  } else {
    out->append(R"(","segment_version":)");
  }
  AppendNumber(segment.version(), out);
  out->append(R"(,"change_id":")");
  AppendEscaped(id_prefix_, out);
  AppendNumber(number, out);
  out->append(R"("})");
}

void ChangeEncoder::append_protobuf(const Change& change, const segments::v1::Segment& segment,
                                    std::string_view user_id, int64_t number, std::string* out) {
  // The message keeps its parts' buffers.
  message_.Clear();
  message_.set_action(change.action);
  AssignUtf8(segment.id(), message_.mutable_segment_id());
  AssignUtf8(segment.name(), message_.mutable_segment_name());
  AssignUtf8(segment.api().customer_segment_id(), message_.mutable_customer_segment_id());
  AssignUtf8(user_id, message_.mutable_user_id());
  SetTimestamp(change.at, message_.mutable_at());
  message_.set_reason(change.reason);
  if (!change.cause_event.empty()) {
    segments::v1::Cause* cause = message_.mutable_cause();
    AssignUtf8(change.cause_event, cause->mutable_event());
    SetTimestamp(change.cause_at, cause->mutable_at());
    AssignUtf8(change.cause_message_id, cause->mutable_message_id());
  }
  message_.set_segment_version(segment.version());
  std::string* id = message_.mutable_change_id();
  id->assign(id_prefix_);
  AppendNumber(number, id);
  message_.AppendToString(out);
}

absl::StatusOr<segments::v1::MembershipChange> DecodeChange(std::string_view value) {
  // No protobuf of this message begins with a brace: it would be a group of field 15.
  if (!value.empty() && value.front() == '{') return DecodeJson(value);
  segments::v1::MembershipChange change;
  if (value.size() > std::numeric_limits<int>::max() ||
      !change.ParseFromArray(value.data(), static_cast<int>(value.size()))) {
    return Wrong("neither JSON nor protobuf");
  }
  if (change.change_id().empty()) return Wrong("change_id is missing");
  return change;
}

absl::StatusOr<ChangeId> ParseChangeId(std::string_view text) {
  ChangeId id;
  const size_t colon = text.rfind(':');
  const size_t dash = text.rfind('-', colon);
  const auto read = [](std::string_view digits, auto* number) {
    const auto [end, error] =
        std::from_chars(digits.data(), digits.data() + digits.size(), *number);
    return error == std::errc() && end == digits.data() + digits.size() && *number >= 0;
  };
  if (colon == std::string_view::npos || dash == std::string_view::npos || dash == 0 ||
      !read(text.substr(dash + 1, colon - dash - 1), &id.partition) ||
      !read(text.substr(colon + 1), &id.number)) {
    return absl::InvalidArgumentError(
        fmt::format("change ID \"{}\" is not of the form topic-partition:number", text));
  }
  id.topic = text.substr(0, dash);
  return id;
}

}  // namespace segmentd

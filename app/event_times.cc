#include "app/event_times.h"

#include <simdjson.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

#include "segment/absl_view.h"

namespace segmentd {
namespace {

enum class Format { kSegment, kCleverTap, kMessage };

struct TimeField {
  std::string_view name;
  Format format;
};

constexpr std::array<TimeField, 7> kTimeFields = {{{"timestamp", Format::kSegment},
                                                   {"originalTimestamp", Format::kSegment},
                                                   {"sentAt", Format::kSegment},
                                                   {"receivedAt", Format::kSegment},
                                                   {"ts", Format::kCleverTap},
                                                   {"time_ms", Format::kMessage},
                                                   {"timeMs", Format::kMessage}}};

bool IsTimeField(std::string_view name, Format format) {
  return std::any_of(kTimeFields.begin(), kTimeFields.end(), [&](const TimeField& field) {
    return field.name == name && field.format == format;
  });
}

// As the decoder tells them apart.
simdjson::error_code FormatOf(simdjson::ondemand::object& object, Format* format) {
  *format = Format::kMessage;
  for (auto each : object) {
    simdjson::ondemand::field field;
    if (auto error = std::move(each).get(field)) return error;
    std::string_view name;
    if (auto error = field.unescaped_key().get(name)) return error;
    if (name != "type") continue;
    std::string_view type;
    const bool text = field.value().get_string().get(type) == simdjson::SUCCESS;
    *format =
        text && (type == "event" || type == "profile") ? Format::kCleverTap : Format::kSegment;
  }
  return simdjson::SUCCESS;
}

// A number of ms, as the decoder reads it.
bool MillisOf(double number, Format format, int64_t* ms) {
  const double value =
      format == Format::kCleverTap ? std::round(number * 1000) : std::floor(number);
  // Years -9999 to 9999 and some.
  if (!(std::abs(value) < 1e15)) return false;
  *ms = static_cast<int64_t>(value);
  return true;
}

void AppendNumber(int64_t ms, Format format, std::string* out) {
  if (format != Format::kCleverTap) {
    absl::StrAppend(out, ms);
  } else if (ms % 1000 == 0) {
    absl::StrAppend(out, ms / 1000);
  } else {
    absl::StrAppendFormat(out, "%.3f", static_cast<double>(ms) / 1000);
  }
}

// The value's text with the shift added; false when it is no time. Null stays null.
bool AppendShifted(simdjson::ondemand::value value, Format format, Duration shift,
                   std::string* out) {
  simdjson::ondemand::json_type type;
  if (value.type().get(type) != simdjson::SUCCESS) return false;
  if (type == simdjson::ondemand::json_type::string) {
    std::string_view text;
    if (value.get_string().get(text) != simdjson::SUCCESS) return false;
    if (format == Format::kMessage) {
      // How Protobuf's JSON writes 64 bits.
      int64_t ms = 0;
      constexpr int64_t kMost = 1'000'000'000'000'000;
      if (!absl::SimpleAtoi(AbslView(text), &ms) || ms > kMost || ms < -kMost) return false;
      absl::StrAppend(out, "\"", ms + shift.millis(), "\"");
      return true;
    }
    Time time;
    if (!ParseTimestamp(text, &time)) return false;
    out->push_back('"');
    if (text.starts_with("$D_")) {
      absl::StrAppend(out, "$D_", (time + shift).millis() / 1000);
    } else {
      AppendTimestamp(time + shift, out);
    }
    out->push_back('"');
    return true;
  }
  if (type == simdjson::ondemand::json_type::number) {
    double number = 0;
    int64_t ms = 0;
    if (value.get_double().get(number) != simdjson::SUCCESS || !MillisOf(number, format, &ms)) {
      return false;
    }
    AppendNumber(ms + shift.millis(), format, out);
    return true;
  }
  bool null = false;
  if (value.is_null().get(null) != simdjson::SUCCESS || !null) return false;
  out->append("null");
  return true;
}

// Without the white space that may follow it.
std::string_view Token(simdjson::ondemand::value& value) {
  std::string_view token = value.raw_json_token();
  while (!token.empty() &&
         std::string_view(" \t\r\n").find(token.back()) != std::string_view::npos) {
    token.remove_suffix(1);
  }
  return token;
}

}  // namespace

absl::Status ShiftEventTimes(std::string_view json, Duration shift, std::string* out) {
  constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
  thread_local simdjson::ondemand::parser parser;
  out->clear();
  if (json.starts_with(kByteOrderMark)) {
    out->append(kByteOrderMark);
    json.remove_prefix(kByteOrderMark.size());
  }
  const simdjson::padded_string padded(json);
  const auto bad = [](simdjson::error_code error) {
    return absl::InvalidArgumentError(
        absl::StrCat("no JSON object: ", simdjson::error_message(error)));
  };
  simdjson::ondemand::document document;
  simdjson::ondemand::object object;
  if (auto error = parser.iterate(padded).get(document)) return bad(error);
  if (auto error = document.get_object().get(object)) return bad(error);
  Format format{};
  if (auto error = FormatOf(object, &format)) return bad(error);
  document.rewind();
  if (auto error = document.get_object().get(object)) return bad(error);
  size_t copied = 0;
  for (auto each : object) {
    simdjson::ondemand::field field;
    if (auto error = std::move(each).get(field)) return bad(error);
    std::string_view name;
    if (auto error = field.unescaped_key().get(name)) return bad(error);
    if (!IsTimeField(name, format)) continue;
    const std::string_view token = Token(field.value());
    const size_t begin = static_cast<size_t>(token.data() - padded.data());
    out->append(json.substr(copied, begin - copied));
    if (!AppendShifted(field.value(), format, shift, out)) {
      return absl::InvalidArgumentError(
          absl::StrCat("\"", AbslView(name), "\" is no time: ", AbslView(token)));
    }
    copied = begin + token.size();
  }
  out->append(json.substr(copied));
  return absl::OkStatus();
}

}  // namespace segmentd

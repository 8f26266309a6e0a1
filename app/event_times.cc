#include "app/event_times.h"

#include <simdjson.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

#include "segment/absl_view.h"

namespace segmentd {
namespace {

enum class Unit { kMillis, kSeconds };

struct TimeField {
  std::string_view name;
  // Of a number.
  Unit unit;
};

constexpr std::array<TimeField, 5> kTimeFields = {{{"timestamp", Unit::kMillis},
                                                   {"originalTimestamp", Unit::kMillis},
                                                   {"sentAt", Unit::kMillis},
                                                   {"receivedAt", Unit::kMillis},
                                                   {"ts", Unit::kSeconds}}};

const TimeField* FindTimeField(std::string_view name) {
  const auto* const found =
      std::find_if(kTimeFields.begin(), kTimeFields.end(),
                   [name](const TimeField& field) { return field.name == name; });
  return found == kTimeFields.end() ? nullptr : found;
}

// A number of ms, as the decoder reads it.
bool MillisOf(double number, Unit unit, int64_t* ms) {
  const double value = unit == Unit::kSeconds ? std::round(number * 1000) : std::floor(number);
  // Years -9999 to 9999 and some.
  if (!(std::abs(value) < 1e15)) return false;
  *ms = static_cast<int64_t>(value);
  return true;
}

void AppendNumber(int64_t ms, Unit unit, std::string* out) {
  if (unit == Unit::kMillis) {
    absl::StrAppend(out, ms);
  } else if (ms % 1000 == 0) {
    absl::StrAppend(out, ms / 1000);
  } else {
    absl::StrAppendFormat(out, "%.3f", static_cast<double>(ms) / 1000);
  }
}

// The value's text with the shift added; false when it is no time. Null stays null.
bool AppendShifted(simdjson::ondemand::value value, Unit unit, Duration shift, std::string* out) {
  simdjson::ondemand::json_type type;
  if (value.type().get(type) != simdjson::SUCCESS) return false;
  if (type == simdjson::ondemand::json_type::string) {
    std::string_view text;
    Time time;
    if (value.get_string().get(text) != simdjson::SUCCESS || !ParseTimestamp(text, &time)) {
      return false;
    }
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
    if (value.get_double().get(number) != simdjson::SUCCESS || !MillisOf(number, unit, &ms)) {
      return false;
    }
    AppendNumber(ms + shift.millis(), unit, out);
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
  thread_local simdjson::ondemand::parser parser;
  const simdjson::padded_string padded(json);
  const auto bad = [](simdjson::error_code error) {
    return absl::InvalidArgumentError(
        absl::StrCat("no JSON object: ", simdjson::error_message(error)));
  };
  simdjson::ondemand::document document;
  simdjson::ondemand::object object;
  if (auto error = parser.iterate(padded).get(document)) return bad(error);
  if (auto error = document.get_object().get(object)) return bad(error);
  out->clear();
  size_t copied = 0;
  for (auto each : object) {
    simdjson::ondemand::field field;
    if (auto error = std::move(each).get(field)) return bad(error);
    std::string_view name;
    if (auto error = field.unescaped_key().get(name)) return bad(error);
    const TimeField* time_field = FindTimeField(name);
    if (time_field == nullptr) continue;
    const std::string_view token = Token(field.value());
    const size_t begin = static_cast<size_t>(token.data() - padded.data());
    out->append(json.substr(copied, begin - copied));
    if (!AppendShifted(field.value(), time_field->unit, shift, out)) {
      return absl::InvalidArgumentError(
          absl::StrCat("\"", AbslView(time_field->name), "\" is no time: ", AbslView(token)));
    }
    copied = begin + token.size();
  }
  out->append(json.substr(copied));
  return absl::OkStatus();
}

}  // namespace segmentd

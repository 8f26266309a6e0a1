// What was found in a body, as a Body.
#include <algorithm>
#include <bit>
#include <cmath>
#include <optional>
#include <string>
#include <string_view>

#include "fmt/format.h"

#include "stream/decoder.h"
#include "stream/event_time.h"
#include "stream/json_core.h"

namespace segmentd {

bool JsonDecoder::Core::conclude(Body* body) {
  *body = {};
  if (call == CallType::kUnknown) {
    const ScalarText& type = scalar(BodyScalar::kType);
    if (type.kind == ScalarText::Kind::kAbsent && batch) {
      return fail(DecodeError::kBatch, "a batch of events: send each as a record of its own");
    }
    const bool clever_tap = scalars_seen >> static_cast<int>(BodyScalar::kEvtName) != 0 ||
                            parts[static_cast<size_t>(BodyPart::kEvtData)].there ||
                            parts[static_cast<size_t>(BodyPart::kProfileData)].there;
    const std::string_view allowed =
        clever_tap ? "event or profile" : "track, identify, page, screen, alias or group";
    if (type.kind == ScalarText::Kind::kAbsent) {
      return fail(DecodeError::kUnknownType, fmt::format("\"type\" is missing: write {}", allowed));
    }
    if (type.kind == ScalarText::Kind::kOther) {
      return fail(DecodeError::kWrongType, fmt::format("\"type\" is no string: write {}", allowed));
    }
    return fail(DecodeError::kUnknownType,
                fmt::format("type {} is not known: write {}", quote(type.text), allowed));
  }

  if (!(IsCleverTap(call) ? user(BodyScalar::kIdentity, BodyScalar::kObjectId, body)
                          : user(BodyScalar::kUserId, BodyScalar::kAnonymousId, body)) ||
      !scalar_text(BodyScalar::kMessageId, kMaxIdBytes, &body->message_id)) {
    return false;
  }
  switch (call) {
    case CallType::kTrack:
      if (!event_name(BodyScalar::kEvent, body)) return false;
      break;
    case CallType::kCleverTapEvent:
      if (!event_name(BodyScalar::kEvtName, body)) return false;
      break;
    case CallType::kPage:
      body->name = kPageViewed;
      break;
    case CallType::kScreen:
      body->name = kScreenViewed;
      break;
    default:
      break;
  }
  if (!(IsCleverTap(call) ? time(BodyScalar::kTs, &body->time) : segment_time(body))) return false;

  if (parts[static_cast<size_t>(BodyPart::kTraits)].there) {
    const Range& range = parts[static_cast<size_t>(BodyPart::kContextTraits)];
    commanded.drop(range.begin, range.end);
  }
  for (uint32_t seen = parts_seen; seen != 0; seen &= seen - 1) {
    const auto part = static_cast<BodyPart>(std::countr_zero(seen));
    const Range& range = parts[static_cast<size_t>(part)];
    if (!Uses(call, part)) {
      if (range.begin != range.end)
        (IsProfile(part) ? commanded : found).drop(range.begin, range.end);
    } else if (range.wrong_type) {
      return fail(DecodeError::kWrongType, fmt::format("\"{}\" is not an object", NameOf(part)));
    }
  }
  properties.clear();
  found.gather([this](FieldIndex field, ProfileOperation, const Value& value) {
    EventProperty& property = properties.emplace_back();
    property.field = field;
    property.value = value;
  });
  if (call == CallType::kPage) {
    add_missing("url", page[0]);
    add_missing("referrer", page[1]);
    add_missing("title", page[2]);
  }
  if (call == CallType::kPage || call == CallType::kScreen) {
    for (const BodyScalar member : {BodyScalar::kName, BodyScalar::kCategory}) {
      const ScalarText& s = scalar(member);
      if (s.kind == ScalarText::Kind::kText) {
        add_missing(NameOf(member), Value::String(s.text));
      }
    }
  }
  profile.clear();
  if (commanded.size() != 0) {
    commanded.gather([this](uint32_t path, ProfileOperation operation, const Value& value) {
      profile.push_back({.operation = operation, .property = paths.text(path), .value = value});
    });
  }
  body->properties = properties;
  body->profile = profile;
  return true;
}

bool JsonDecoder::Core::scalar_text(BodyScalar member, size_t limit, std::string_view* out) {
  const ScalarText& s = scalar(member);
  const std::string_view name = NameOf(member);
  if (s.kind == ScalarText::Kind::kOther) {
    return fail(DecodeError::kWrongType,
                fmt::format("\"{}\" is neither a string nor a number", name));
  }
  if (s.text.size() > limit && s.kind != ScalarText::Kind::kAbsent) {
    return fail(DecodeError::kTooLong, fmt::format("\"{}\" has {} bytes; at most {} are allowed",
                                                   name, s.text.size(), limit));
  }
  *out = s.kind == ScalarText::Kind::kAbsent ? std::string_view() : s.text;
  return true;
}

bool JsonDecoder::Core::user(BodyScalar known, BodyScalar anonymous, Body* body) {
  if (!scalar_text(known, kMaxIdBytes, &body->user)) return false;
  if (body->user.empty() && !scalar_text(anonymous, kMaxIdBytes, &body->user)) return false;
  if (!body->user.empty()) return true;
  return fail(DecodeError::kNoUser, fmt::format("neither \"{}\" nor \"{}\" names the user",
                                                NameOf(known), NameOf(anonymous)));
}

bool JsonDecoder::Core::event_name(BodyScalar member, Body* body) {
  const ScalarText& s = scalar(member);
  const std::string_view name = NameOf(member);
  if (s.kind == ScalarText::Kind::kNumber || s.kind == ScalarText::Kind::kOther) {
    return fail(DecodeError::kWrongType, fmt::format("\"{}\" is not a string", name));
  }
  if (s.kind == ScalarText::Kind::kAbsent || s.text.empty()) {
    return fail(DecodeError::kNoEventName,
                fmt::format("\"{}\", the event's name, is missing or empty", name));
  }
  body->name = s.text;
  return true;
}

bool JsonDecoder::Core::time(BodyScalar member, std::optional<Time>* out) {
  const ScalarText& s = scalar(member);
  const bool seconds = member == BodyScalar::kTs;
  Time read;
  switch (s.kind) {
    case ScalarText::Kind::kAbsent:
      *out = std::nullopt;
      return true;
    case ScalarText::Kind::kText:
      if (!ParseTimestamp(s.text, &read)) break;
      *out = read;
      return true;
    case ScalarText::Kind::kNumber:
      if (!ParseEventTime(seconds ? std::round(s.number * 1000) : std::floor(s.number), &read))
        break;
      *out = read;
      return true;
    case ScalarText::Kind::kOther:
      break;
  }
  return fail(
      DecodeError::kBadTimestamp,
      fmt::format(
          "\"{}\"{} is no time: write {}", NameOf(member),
          s.kind == ScalarText::Kind::kOther ? "" : " " + quote(s.text),
          seconds
              ? "a number of seconds since 1970"
              : "ISO 8601, such as 2026-04-01T09:00:00Z, or a number of milliseconds since 1970"));
}

bool JsonDecoder::Core::segment_time(Body* body) {
  if (!time(BodyScalar::kTimestamp, &body->time)) return false;
  if (body->time || scalar(BodyScalar::kOriginalTimestamp).kind == ScalarText::Kind::kAbsent)
    return true;
  std::optional<Time> sent;
  std::optional<Time> received;
  if (!time(BodyScalar::kOriginalTimestamp, &body->time) || !time(BodyScalar::kSentAt, &sent) ||
      !time(BodyScalar::kReceivedAt, &received)) {
    return false;
  }
  if (!sent || !received || *sent == Time::Max() || *received == Time::Max() ||
      *body->time == Time::Max())
    return true;
  const auto corrected = static_cast<double>((*received - (*sent - *body->time)).millis());
  Time result;
  if (!ParseEventTime(corrected, &result)) {
    return fail(DecodeError::kBadTimestamp,
                "receivedAt - (sentAt - originalTimestamp) lies before the year 1");
  }
  body->time = result;
  return true;
}

void JsonDecoder::Core::add_missing(std::string_view name, const Value& value) {
  if (value.missing()) return;
  const uint32_t node = fields->child(0, name);
  if (node == kNoNode) return;
  const FieldIndex field = fields->node(node).field;
  if (field == Fields::kNone ||
      std::any_of(properties.begin(), properties.end(),
                  [field](const EventProperty& p) { return p.field == field; })) {
    return;
  }
  properties.push_back({.field = field, .value = value});
}

}  // namespace segmentd

// The walk through the members of a body: which are read, which only checked, and what there is to
// know of each part.
#include <algorithm>
#include <array>
#include <string_view>

#include "simdjson.h"

#include "stream/json_core.h"

namespace segmentd {

namespace ondemand = simdjson::ondemand;

[[gnu::always_inline]] inline bool JsonDecoder::Core::scalar_member(BodyScalar member,
                                                                    ondemand::value& value) {
  const auto index = static_cast<size_t>(member);
  ScalarText& s = scalars[index];
  const bool again = (scalars_seen >> index & 1) != 0;
  scalars_seen |= 1U << index;

  ondemand::json_type type{};
  if (take_plain(value, &s.text)) {
    s.kind = ScalarText::Kind::kText;
  } else if (const auto error = value.type().get(type)) {
    return malformed(error);
  } else if (type == ondemand::json_type::string) {
    s.kind = ScalarText::Kind::kText;
    if (!read_string(value, &s.text)) return false;
  } else if (type == ondemand::json_type::number) {
    s.kind = ScalarText::Kind::kNumber;
    s.text = NumberText(value);
    if (!read_number(value, &s.number)) return false;
  } else {
    s.kind =
        type == ondemand::json_type::null ? ScalarText::Kind::kAbsent : ScalarText::Kind::kOther;
    if (!check(value, 1)) return false;
  }

  if (member == BodyScalar::kType) {
    type_changed |= again;
    call = s.kind == ScalarText::Kind::kText ? CallOf(s.text) : CallType::kUnknown;
  } else if (member == BodyScalar::kName) {
    event_message = true;
  }
  return true;
}

[[gnu::always_inline]] inline bool JsonDecoder::Core::member(std::string_view key,
                                                             ondemand::value& value) {
  const BodyMember member = MemberOf(key);
  if (member < kBodyScalars) return scalar_member(static_cast<BodyScalar>(member), value);
  if (member < kBodyScalars + kBodyParts)
    return part_member(static_cast<BodyPart>(member - kBodyScalars), value);
  batch |= member == kBatchMember;
  event_message |= member == kEventMessageMember;
  return check(value, 1);
}

bool JsonDecoder::Core::pass() {
  scalars_seen = 0;
  parts = {};
  parts_seen = 0;
  page = {};
  batch = false;
  event_message = false;
  call = CallType::kUnknown;
  type_changed = false;
  found.clear();
  commanded.clear();

  if (const auto error = parser
                             .iterate(simdjson::padded_string_view(
                                 text_begin, text_size, text_size + simdjson::SIMDJSON_PADDING))
                             .get(document)) {
    return malformed(error);
  }
  ondemand::object root;
  if (const auto error = document.get_object().get(root)) return malformed(error);
  for (auto next : root) {
    if (next.error()) return malformed(next.error());
    ondemand::field& field = next.value_unsafe();
    std::string_view key;
    if (!read_key(field, &key)) return false;
    if (!member(key, field.value())) return false;
  }
  const char* rest = nullptr;
  if (document.current_location().get(rest) != simdjson::OUT_OF_BOUNDS) {
    return malformed(simdjson::TRAILING_CONTENT);
  }
  return true;
}

bool JsonDecoder::Core::part_member(BodyPart part, ondemand::value& value) {
  Range& range = parts[static_cast<size_t>(part)];
  parts_seen |= BitOf(part);
  PropertyLog& log = IsProfile(part) ? commanded : found;
  log.drop(range.begin, range.end);
  range = {.begin = log.size(), .end = log.size()};
  if (part == BodyPart::kContext) {
    Range& traits = parts[static_cast<size_t>(BodyPart::kContextTraits)];
    commanded.drop(traits.begin, traits.end);
    traits = {};
    page = {};
  }

  ondemand::json_type type{};
  if (const auto error = value.type().get(type)) return malformed(error);
  if (type == ondemand::json_type::array) {
    // PHP writes an empty object as an empty list.
    auto list = value.get_array();
    if (list.error()) return malformed(list.error());
    for (auto next : list.value_unsafe()) {
      range.wrong_type = true;
      if (next.error()) return malformed(next.error());
      ondemand::value& element = next.value_unsafe();
      if (!check(element, 2)) return false;
    }
    return true;
  }
  if (type != ondemand::json_type::object) {
    range.wrong_type = type != ondemand::json_type::null;
    return check(value, 1);
  }
  range.there = true;

  const bool wanted = !leave_out || call == CallType::kUnknown || Uses(call, part) ||
                      (part == BodyPart::kContext && Uses(call, BodyPart::kContextTraits));
  if (!wanted) return check(value, 1);
  if (IsProfile(part) && commanded.size() == 0) paths.clear();

  auto object = value.get_object();
  if (object.error()) return malformed(object.error());
  Surroundings around{.scope = ++scopes};
  bool ok = false;
  switch (part) {
    case BodyPart::kProperties:
    case BodyPart::kEvtData:
      ok = walk_object(object.value_unsafe(), EventPlace{.node = 0}, around, 2);
      break;
    case BodyPart::kContext:
      ok = context_members(object.value_unsafe(), EventPlace{.node = fields->child(0, "context")},
                           around);
      break;
    case BodyPart::kProfileData:
      around.commands = Commands::kUnderstood;
      [[fallthrough]];
    case BodyPart::kTraits:
    case BodyPart::kContextTraits:
      ok = walk_object(object.value_unsafe(), Place{.path = kRootPath}, around, 2);
      break;
  }
  range.end = log.size();
  return ok;
}

bool JsonDecoder::Core::context_members(ondemand::object& object, EventPlace place,
                                        const Surroundings& around) {
  add(place, around, PropertyLog::Kind::kPresent, Value());
  for (auto next : object) {
    if (next.error()) return malformed(next.error());
    ondemand::field& field = next.value_unsafe();
    std::string_view key;
    if (!read_key(field, &key)) return false;
    EventPlace at;
    if (!enter(place, around, key, &at)) return false;
    if (key == "page") {
      if (!page_members(field.value(), at, around)) return false;
    } else if (key == "traits") {
      if (!traits_of_context(field.value(), at, around)) return false;
    } else if (!walk(field.value(), at, around, 2)) {
      return false;
    }
    leave(at);
  }
  return true;
}

bool JsonDecoder::Core::traits_of_context(ondemand::value& value, EventPlace place,
                                          const Surroundings& around) {
  if (leave_out && call != CallType::kUnknown && call != CallType::kIdentify) {
    return walk(value, place, around, 2);
  }
  Range& range = parts[static_cast<size_t>(BodyPart::kContextTraits)];
  parts_seen |= BitOf(BodyPart::kContextTraits);
  commanded.drop(range.begin, range.end);
  if (commanded.size() == 0) paths.clear();
  range = {.begin = commanded.size(), .end = commanded.size()};
  ondemand::json_type type{};
  if (const auto error = value.type().get(type)) return malformed(error);
  range.there = type == ondemand::json_type::object;
  const Place both{.node = place.node, .path = range.there ? kRootPath : kNoPath};
  if (!walk(value, both, Surroundings{.scope = ++scopes}, 2)) return false;
  range.end = commanded.size();
  return true;
}

bool JsonDecoder::Core::page_members(ondemand::value& value, EventPlace place,
                                     const Surroundings& around) {
  constexpr std::array<std::string_view, 3> kCaptured = {"url", "referrer", "title"};
  page = {};
  ondemand::json_type type{};
  if (const auto error = value.type().get(type)) return malformed(error);
  if (type != ondemand::json_type::object) return walk(value, place, around, 2);
  add(place, around, PropertyLog::Kind::kPresent, Value());
  auto object = value.get_object();
  if (object.error()) return malformed(object.error());
  for (auto next : object.value_unsafe()) {
    if (next.error()) return malformed(next.error());
    ondemand::field& field = next.value_unsafe();
    std::string_view key;
    if (!read_key(field, &key)) return false;
    EventPlace at;
    if (!enter(place, around, key, &at)) return false;
    const auto* const captured = std::find(kCaptured.begin(), kCaptured.end(), key);
    Value* const scalar = captured == kCaptured.end()
                              ? nullptr
                              : &page[static_cast<size_t>(captured - kCaptured.begin())];
    if (scalar != nullptr) *scalar = Value();
    if (!walk(field.value(), at, around, 3, scalar)) return false;
    leave(at);
  }
  return true;
}

}  // namespace segmentd

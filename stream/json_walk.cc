// The walk through a value, with what is wanted of it on the way: properties of the event, and of
// the profile with their commands.
#include <array>
#include <cmath>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "absl/strings/charconv.h"
#include "fmt/format.h"
#include "simdjson.h"

#include "stream/decoder.h"
#include "stream/json_core.h"

namespace segmentd {
namespace {

namespace ondemand = simdjson::ondemand;

std::optional<ProfileOperation> OperationOf(std::string_view key) {
  if (key == "$set") return ProfileOperation::kSet;
  if (key == "$add") return ProfileOperation::kAdd;
  if (key == "$remove") return ProfileOperation::kRemove;
  if (key == "$delete") return ProfileOperation::kDelete;
  if (key == "$incr") return ProfileOperation::kIncrement;
  if (key == "$decr") return ProfileOperation::kDecrement;
  return std::nullopt;
}

constexpr std::string_view kListRule =
    "$add and $remove take a string, number or boolean, or a list of these";

// RFC 8259's number.
bool IsJsonNumber(std::string_view text) {
  size_t i = 0;
  const auto digits = [&] {
    const size_t first = i;
    while (i < text.size() && text[i] >= '0' && text[i] <= '9') ++i;
    return i - first;
  };
  if (i < text.size() && text[i] == '-') ++i;
  const bool zero = i < text.size() && text[i] == '0';
  const size_t whole = digits();
  if (whole == 0 || (zero && whole > 1)) return false;
  if (i < text.size() && text[i] == '.') {
    ++i;
    if (digits() == 0) return false;
  }
  if (i < text.size() && (text[i] == 'e' || text[i] == 'E')) {
    ++i;
    if (i < text.size() && (text[i] == '-' || text[i] == '+')) ++i;
    if (digits() == 0) return false;
  }
  return i == text.size();
}

}  // namespace

template <typename P>
bool JsonDecoder::Core::walk(ondemand::value& value, P place, const Surroundings& around, int depth,
                             Value* scalar) {
  if (!place.used() && scalar == nullptr) return check(value, depth);
  const auto take = [&](const Value& read) {
    add(place, around, PropertyLog::Kind::kOnly, read);
    if (scalar != nullptr) *scalar = read;
  };
  if (std::string_view string; take_plain(value, &string)) {
    take(Value::String(string));
    return true;
  }
  ondemand::json_type type{};
  if (const auto error = value.type().get(type)) return malformed(error);
  switch (type) {
    case ondemand::json_type::object: {
      if (depth == kMaxJsonDepth) return too_deep();
      add(place, around, PropertyLog::Kind::kPresent, Value());
      auto object = value.get_object();
      if (object.error()) return malformed(object.error());
      return walk_object(object.value_unsafe(), place, around, depth + 1);
    }
    case ondemand::json_type::array: {
      if (depth == kMaxJsonDepth) return too_deep();
      add(place, around, PropertyLog::Kind::kPresent, Value());
      auto list = value.get_array();
      if (list.error()) return malformed(list.error());
      List<P> in{.place = place, .around = around};
      in.elements.listed = true;
      if (around.commands != Commands::kPlain) in.elements.commands = Commands::kRefused;
      if (place.node != kNoNode) in.element.node = fields->child(place.node, "[]");
      const uint32_t before = commanded.left();
      if (!walk_list(list.value_unsafe(), &in, depth + 1)) return false;
      // An empty list is a value, too.
      if (place.path != kNoPath && !around.listed && commanded.left() == before &&
          around.operation == ProfileOperation::kSet) {
        commanded.add(place.path, PropertyLog::Kind::kPresent, Value());
      }
      return true;
    }
    default: {
      bool ok = false;
      const Value read = read_scalar(type, value, &ok);
      if (ok) take(read);
      return ok;
    }
  }
}

template <typename P>
bool JsonDecoder::Core::walk_object(ondemand::object& object, P place, const Surroundings& around,
                                    int depth) {
  // Of the commands here, by operation: the last of two alike wins.
  std::array<std::pair<uint32_t, uint32_t>, 8> given;
  const bool commands = P::kOfProfile && around.commands != Commands::kPlain;
  if (commands) given.fill({0, 0});
  for (auto next : object) {
    if (next.error()) return malformed(next.error());
    ondemand::field& field = next.value_unsafe();
    std::string_view key;
    if (!read_key(field, &key)) return false;
    if (commands && !key.empty() && key[0] == '$') {
      const auto operation = OperationOf(key);
      if (!operation || around.commands == Commands::kRefused || place.path == kRootPath) {
        return fail(DecodeError::kBadProfileCommand,
                    fmt::format("{} can't stand here: a property's value is an object of $set, "
                                "$add, $remove, $delete, $incr or $decr",
                                quote(key)));
      }
      auto& [begin, end] = given[static_cast<size_t>(*operation)];
      commanded.drop(begin, end);
      begin = commanded.size();
      if (!command(*operation, field.value(), place.path, around, depth)) return false;
      end = commanded.size();
      continue;
    }
    P at;
    if (!enter(place, around, key, &at)) return false;
    if (!at.used()) {
      if (!check(field.value(), depth)) return false;
      continue;
    }
    if (!walk(field.value(), at, around, depth)) return false;
    leave(at);
  }
  return true;
}

template <typename P>
bool JsonDecoder::Core::walk_list(ondemand::array& list, List<P>* in, int depth) {
  for (auto next : list) {
    if (next.error()) return malformed(next.error());
    ondemand::value& value = next.value_unsafe();
    ondemand::json_type type{};
    if (const auto error = value.type().get(type)) return malformed(error);
    if (type == ondemand::json_type::object) {
      if (in->around.operation != ProfileOperation::kSet) {
        return fail(DecodeError::kBadProfileCommand, std::string(kListRule));
      }
      if constexpr (P::kOfProfile) {
        if (in->place.path != kNoPath && in->element.path == kNoPath) {
          in->element.path = paths.child(in->place.path, "[]", "");
          if (in->element.path == kNoPath) return profile_too_large();
        }
      }
      if (!in->element.used()) {
        if (!check(value, depth)) return false;
        continue;
      }
      if (depth == kMaxJsonDepth) return too_deep();
      in->elements.scope = ++scopes;
      auto object = value.get_object();
      if (object.error()) return malformed(object.error());
      if (!walk_object(object.value_unsafe(), in->element, in->elements, depth + 1)) return false;
    } else if (type == ondemand::json_type::array) {
      if (depth == kMaxJsonDepth) return too_deep();
      auto inner = value.get_array();
      if (inner.error()) return malformed(inner.error());
      if (!walk_list(inner.value_unsafe(), in, depth + 1)) return false;
    } else {
      bool ok = false;
      const Value read = read_scalar(type, value, &ok);
      if (!ok) return false;
      if (read.missing()) continue;
      add(in->place, in->around, PropertyLog::Kind::kItem, read);
      // "tags[]" is as good a path as "tags"; the profile knows the second only.
      add(EventPlace{.node = in->element.node}, in->elements, PropertyLog::Kind::kItem, read);
    }
  }
  return true;
}

bool JsonDecoder::Core::command(ProfileOperation operation, ondemand::value& value, uint32_t path,
                                const Surroundings& around, int depth) {
  const Place place{.path = path};
  Surroundings inside = around;
  inside.operation = operation;
  inside.commands = Commands::kRefused;
  ondemand::json_type type{};
  if (const auto error = value.type().get(type)) return malformed(error);
  const auto refuse = [&](std::string_view rule) {
    return fail(DecodeError::kBadProfileCommand,
                fmt::format("{}: {}", quote(paths.text(path)), rule));
  };
  switch (operation) {
    case ProfileOperation::kSet:
      return walk(value, place, inside, depth);
    case ProfileOperation::kDelete:
      if (!check(value, depth)) return false;
      commanded.add(path, PropertyLog::Kind::kOnly, Value(), operation);
      return true;
    case ProfileOperation::kAdd:
    case ProfileOperation::kRemove: {
      if (type == ondemand::json_type::array) return walk(value, place, inside, depth);
      if (type == ondemand::json_type::object || type == ondemand::json_type::null) {
        return refuse(kListRule);
      }
      bool ok = false;
      const Value read = read_scalar(type, value, &ok);
      if (!ok) return false;
      commanded.add(path, PropertyLog::Kind::kItem, read, operation);
      return true;
    }
    case ProfileOperation::kIncrement:
    case ProfileOperation::kDecrement: {
      if (type != ondemand::json_type::number) return refuse("$incr and $decr take a number");
      double number = 0;
      if (!read_number(value, &number)) return false;
      commanded.add(path, PropertyLog::Kind::kOnly, Value::Number(number), operation);
      return true;
    }
  }
  return false;
}

bool JsonDecoder::Core::check(ondemand::value& value, int depth) {
  if (std::string_view string; take_plain(value, &string)) return true;
  ondemand::json_type type{};
  if (const auto error = value.type().get(type)) return malformed(error);
  if (type == ondemand::json_type::object) {
    if (depth == kMaxJsonDepth) return too_deep();
    auto object = value.get_object();
    if (object.error()) return malformed(object.error());
    for (auto next : object.value_unsafe()) {
      if (next.error()) return malformed(next.error());
      ondemand::field& field = next.value_unsafe();
      std::string_view key;
      if (!read_key(field, &key)) return false;
      if (!check(field.value(), depth + 1)) return false;
    }
    return true;
  }
  if (type == ondemand::json_type::array) {
    if (depth == kMaxJsonDepth) return too_deep();
    auto list = value.get_array();
    if (list.error()) return malformed(list.error());
    for (auto next : list.value_unsafe()) {
      if (next.error()) return malformed(next.error());
      ondemand::value& element = next.value_unsafe();
      if (!check(element, depth + 1)) return false;
    }
    return true;
  }
  bool ok = false;
  read_scalar(type, value, &ok);
  return ok;
}

Value JsonDecoder::Core::read_scalar(ondemand::json_type type, ondemand::value& value, bool* ok) {
  switch (type) {
    case ondemand::json_type::string: {
      std::string_view string;
      *ok = read_string(value, &string);
      return Value::String(string);
    }
    case ondemand::json_type::number: {
      double number = 0;
      *ok = read_number(value, &number);
      return Value::Number(number);
    }
    case ondemand::json_type::boolean: {
      bool boolean = false;
      const auto error = value.get_bool().get(boolean);
      *ok = error == simdjson::SUCCESS || malformed(error);
      return Value::Boolean(boolean);
    }
    default: {
      bool null = false;
      const auto error = value.is_null().get(null);
      *ok = (error == simdjson::SUCCESS && null) || malformed(error);
      return Value();
    }
  }
}

bool JsonDecoder::Core::read_number(ondemand::value& value, double* out) {
  // Most are whole, and read faster as such; -0 is left to what knows it.
  int64_t whole = 0;
  if (value.get_int64().get(whole) == simdjson::SUCCESS && whole != 0) {
    *out = static_cast<double>(whole);
    return true;
  }
  if (value.get_double().get(*out) == simdjson::SUCCESS) return true;
  // simdjson refuses what is no number, but also too large a number and more than 19 digits of
  // exponent.
  const std::string_view token = NumberText(value);
  if (!IsJsonNumber(token)) return malformed(simdjson::NUMBER_ERROR);
  const auto result = absl::from_chars(token.data(), token.data() + token.size(), *out);
  if (result.ec == std::errc::result_out_of_range && std::abs(*out) > 1) {
    return fail(DecodeError::kBadNumber,
                fmt::format("{} is beyond the numbers of 64-bit floating point", quote(token)));
  }
  return true;
}

[[gnu::always_inline]] inline uint32_t JsonDecoder::Core::child(uint32_t node,
                                                                std::string_view key) const {
  const uint32_t child = fields->child(node, key);
  if (child != kNoNode) return fields->node(child).hidden ? kNoNode : child;
  return fields->node(node).nested ? child_by_path(node, key) : kNoNode;
}

uint32_t JsonDecoder::Core::child_by_path(uint32_t node, std::string_view key) const {
  if (key.find('.') == std::string_view::npos && !key.ends_with("[]")) return kNoNode;
  // Among the properties `context` is out of reach: a path that begins so means the body's.
  const bool context = node == 0 && key.starts_with("context") && (key[7] == '.' || key[7] == '[');
  return context ? kNoNode : fields->find(node, key);
}

template <typename P>
[[gnu::always_inline]] inline bool JsonDecoder::Core::enter(P in, const Surroundings& around,
                                                            std::string_view key, P* at) {
  *at = P();
  if (in.node != kNoNode) {
    const uint32_t node = child(in.node, key);
    at->node = node;
    if (node != kNoNode) found.enter(node, around.scope);
  }
  if constexpr (P::kOfProfile) {
    if (in.path == kNoPath) return true;
    if (key.empty()) {
      return fail(DecodeError::kBadProfileCommand, "a profile property's name is empty");
    }
    at->path = in.path == kRootPath ? paths.root(key) : paths.child(in.path, ".", key);
    if (at->path == kNoPath) return profile_too_large();
    commanded.enter(at->path, around.scope);
  }
  return true;
}

template <typename P>
void JsonDecoder::Core::add(P at, const Surroundings& around, PropertyLog::Kind kind, Value value) {
  const bool present = kind == PropertyLog::Kind::kPresent;
  if (around.listed) kind = PropertyLog::Kind::kItem;
  if (at.node != kNoNode && (present ? !around.listed : !value.missing())) {
    const FieldIndex field = fields->node(at.node).field;
    if (field != Fields::kNone) found.add(field, kind, value);
  }
  if (at.path == kNoPath || present) return;
  if (!value.missing()) {
    commanded.add(at.path, kind, value, around.operation);
  } else if (!around.listed) {
    commanded.add(at.path, PropertyLog::Kind::kOnly, Value(), ProfileOperation::kDelete);
  }
}

// What the walk through the body's members calls.
template bool JsonDecoder::Core::walk(ondemand::value&, Place, const Surroundings&, int, Value*);
template bool JsonDecoder::Core::walk(ondemand::value&, EventPlace, const Surroundings&, int,
                                      Value*);
template bool JsonDecoder::Core::walk_object(ondemand::object&, Place, const Surroundings&, int);
template bool JsonDecoder::Core::walk_object(ondemand::object&, EventPlace, const Surroundings&,
                                             int);
template bool JsonDecoder::Core::enter(EventPlace, const Surroundings&, std::string_view,
                                       EventPlace*);
template void JsonDecoder::Core::add(EventPlace, const Surroundings&, PropertyLog::Kind, Value);

}  // namespace segmentd

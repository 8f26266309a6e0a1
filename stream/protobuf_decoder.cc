#include "stream/protobuf_decoder.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <utility>

#include "fmt/format.h"
#include "simdjson.h"

#include "proto/segments/v1/event.pb.h"
#include "stream/decoder.h"
#include "stream/event_time.h"

namespace segmentd {
namespace {

namespace wire = segments::v1;

bool ReadVarint(const char** at, const char* end, int most, uint64_t* value) {
  *value = 0;
  for (int i = 0; i < most; ++i) {
    if (*at == end) return false;
    const auto byte = static_cast<unsigned char>(*(*at)++);
    *value |= static_cast<uint64_t>(byte & 0x7F) << (7 * i);
    if (byte < 0x80) return true;
  }
  return false;
}

}  // namespace

// Where values go.
struct ProtobufDecoder::Target {
  PropertyLog* log;
  // kNoTarget: they are checked only.
  uint32_t number = kNoTarget;
  PropertyLog::Kind kind = PropertyLog::Kind::kOnly;
  ProfileOperation operation = ProfileOperation::kSet;

  static constexpr uint32_t kNoTarget = Fields::kNone;
};

// One field of a message, as it is on the wire.
struct ProtobufDecoder::Member {
  enum Wire : uint32_t {
    kVarint = 0,
    kFixed64 = 1,
    kBytes = 2,
    kGroup = 3,
    kGroupEnd = 4,
    kFixed32 = 5
  };

  uint32_t number = 0;
  uint32_t wire = 0;
  uint64_t scalar = 0;
  std::string_view bytes;

  bool is(int field, Wire type) const {
    return number == static_cast<uint32_t>(field) && wire == type;
  }

  // Takes the next field off `rest`. False: malformed.
  bool read(std::string_view* rest, int depth = 0) {
    const char* at = rest->data();
    const char* const end = at + rest->size();
    uint64_t tag = 0;
    if (!ReadVarint(&at, end, 5, &tag)) return false;
    number = static_cast<uint32_t>(tag) >> 3;
    if (number == 0) return false;
    wire = static_cast<uint32_t>(tag & 7);
    switch (wire) {
      case kVarint:
        if (!ReadVarint(&at, end, 10, &scalar)) return false;
        break;
      case kFixed64:
      case kFixed32: {
        const std::ptrdiff_t size = wire == kFixed64 ? 8 : 4;
        if (end - at < size) return false;
        scalar = 0;
        std::memcpy(&scalar, at, static_cast<size_t>(size));
        at += size;
        break;
      }
      case kBytes: {
        uint64_t size = 0;
        if (!ReadVarint(&at, end, 5, &size) || size > static_cast<uint64_t>(end - at)) return false;
        bytes = {at, static_cast<size_t>(size)};
        at += size;
        break;
      }
      case kGroup: {
        // No field of ours is one: over to its end.
        std::string_view inside(at, static_cast<size_t>(end - at));
        Member member;
        do {
          if (depth == kMaxJsonDepth || !member.read_in_group(&inside, depth + 1)) return false;
        } while (member.wire != kGroupEnd);
        if (member.number != number) return false;
        at = inside.data();
        break;
      }
      default:
        return false;
    }
    rest->remove_prefix(static_cast<size_t>(at - rest->data()));
    return true;
  }

 private:
  bool read_in_group(std::string_view* rest, int depth) {
    const char* at = rest->data();
    uint64_t tag = 0;
    if (!ReadVarint(&at, at + rest->size(), 5, &tag) || (tag & 7) != kGroupEnd)
      return read(rest, depth);
    number = static_cast<uint32_t>(tag) >> 3;
    wire = kGroupEnd;
    rest->remove_prefix(static_cast<size_t>(at - rest->data()));
    return true;
  }
};

// A message that comes in pieces is their concatenation, by the wire format.
class ProtobufDecoder::Pieces {
 public:
  explicit Pieces(std::deque<std::string>* joined) : joined_(joined) {}
  void add(std::string_view piece) {
    if (count_++ == 0) {
      whole_ = piece;
    } else {
      if (count_ == 2) joined_->emplace_back(whole_);
      whole_ = joined_->back().append(piece);
    }
  }
  int count() const { return count_; }
  std::string_view whole() const { return whole_; }

 private:
  std::deque<std::string>* joined_;
  std::string_view whole_;
  int count_ = 0;
};

bool ProtobufDecoder::decode(std::string_view bytes, const Fields& fields, Body* body,
                             DecodeFailure* failure) {
  fields_ = &fields;
  failure_ = failure;
  found_.clear();
  commanded_.clear();
  names_.clear();
  joined_.clear();
  // One for the whole message: its keys are those of one object.
  ++scope_;
  *body = {};

  std::string_view user;
  std::string_view anonymous;
  Member member;
  for (std::string_view rest = bytes; !rest.empty();) {
    if (!member.read(&rest)) return malformed();
    bool ok = true;
    if (member.is(wire::Event::kUserIdFieldNumber, Member::kBytes)) {
      ok = text(member, &user);
    } else if (member.is(wire::Event::kAnonymousIdFieldNumber, Member::kBytes)) {
      ok = text(member, &anonymous);
    } else if (member.is(wire::Event::kMessageIdFieldNumber, Member::kBytes)) {
      ok = text(member, &body->message_id);
    } else if (member.is(wire::Event::kNameFieldNumber, Member::kBytes)) {
      ok = text(member, &body->name);
    } else if (member.is(wire::Event::kTimeMsFieldNumber, Member::kVarint)) {
      body->time = Time::Millis(static_cast<int64_t>(member.scalar));
    } else if (member.is(wire::Event::kPropertiesFieldNumber, Member::kBytes)) {
      ok = property(member.bytes);
    } else if (member.is(wire::Event::kProfileFieldNumber, Member::kBytes)) {
      ok = command(member.bytes);
    }
    if (!ok) return false;
  }

  body->user = user.empty() ? anonymous : user;
  if (body->user.empty()) {
    return fail(DecodeError::kNoUser, "neither user_id nor anonymous_id names the user");
  }
  for (const std::string_view id : {body->user, body->message_id}) {
    if (id.size() > kMaxIdBytes) {
      return fail(DecodeError::kTooLong, fmt::format("an ID has {} bytes; at most {} are allowed",
                                                     id.size(), kMaxIdBytes));
    }
  }
  if (body->name.empty() && names_.empty()) {
    return fail(DecodeError::kNoEventName, "name is empty, and there are no profile commands");
  }
  if (body->time) {
    if (*body->time < kFirstEventTime) {
      return fail(DecodeError::kBadTimestamp,
                  fmt::format("time_ms {} lies before the year 1", body->time->millis()));
    }
    if (*body->time > kLastEventTime) body->time = Time::Max();
  }

  properties_.clear();
  found_.gather([this](FieldIndex field, ProfileOperation, const Value& value) {
    EventProperty& property = properties_.emplace_back();
    property.field = field;
    property.value = value;
  });
  profile_.clear();
  commanded_.gather([this](uint32_t target, ProfileOperation operation, const Value& value) {
    profile_.push_back({.operation = operation, .property = names_[target], .value = value});
  });
  body->properties = properties_;
  body->profile = profile_;
  return true;
}

// An entry of the map: key and value in any order, the last of each wins, absent ones are empty.
bool ProtobufDecoder::property(std::string_view entry) {
  std::string_view key;
  Pieces pieces(&joined_);
  Member member;
  while (!entry.empty()) {
    if (!member.read(&entry)) return malformed();
    if (member.is(1, Member::kBytes)) {
      if (!text(member, &key)) return false;
    } else if (member.is(2, Member::kBytes)) {
      if (!piece(member.bytes, &pieces)) return false;
    }
  }
  const uint32_t node = fields_->find(0, key);
  if (node == Fields::kNoNode) return value(pieces.whole(), Target{.log = &found_}, 1);
  found_.enter(node, scope_);
  const FieldIndex field = fields_->node(node).field;
  const bool ok = value(pieces.whole(), Target{.log = &found_, .number = field}, 1);
  found_.leave(node);
  return ok;
}

bool ProtobufDecoder::command(std::string_view message) {
  uint64_t operation = 0;
  std::string_view name;
  Pieces pieces(&joined_);
  Member member;
  while (!message.empty()) {
    if (!member.read(&message)) return malformed();
    if (member.is(wire::ProfileCommand::kOperationFieldNumber, Member::kVarint)) {
      operation = member.scalar;
    } else if (member.is(wire::ProfileCommand::kPropertyFieldNumber, Member::kBytes)) {
      if (!text(member, &name)) return false;
    } else if (member.is(wire::ProfileCommand::kValueFieldNumber, Member::kBytes)) {
      if (!piece(member.bytes, &pieces)) return false;
    }
  }
  if (name.empty())
    return fail(DecodeError::kBadProfileCommand, "a profile command has no property");
  if (names_.size() == kMaxProfilePaths || name.size() > kMaxProfilePathBytes) {
    return fail(
        DecodeError::kProfileTooLarge,
        fmt::format("a record has at most {} profile commands, with names of at most {} bytes",
                    kMaxProfilePaths, kMaxProfilePathBytes));
  }
  Target target{.log = &commanded_, .number = static_cast<uint32_t>(names_.size())};
  names_.push_back(name);
  // As int32, what a proto3 enum is on the wire.
  switch (static_cast<int32_t>(static_cast<uint32_t>(operation))) {
    case wire::ProfileCommand::SET:
      target.operation = ProfileOperation::kSet;
      if (!value(pieces.whole(), target, 1)) return false;
      return type_ != ValueType::kMissing ||
             fail(DecodeError::kBadProfileCommand,
                  "SET has no value; write DELETE to remove a property");
    case wire::ProfileCommand::DELETE:
      // Checked, and not used.
      if (!value(pieces.whole(), Target{.log = &commanded_}, 1)) return false;
      commanded_.add(target.number, PropertyLog::Kind::kOnly, Value(), ProfileOperation::kDelete);
      return true;
    case wire::ProfileCommand::ADD:
    case wire::ProfileCommand::REMOVE:
      target.operation = static_cast<uint32_t>(operation) == wire::ProfileCommand::ADD
                             ? ProfileOperation::kAdd
                             : ProfileOperation::kRemove;
      target.kind = PropertyLog::Kind::kItem;
      if (!value(pieces.whole(), target, 1)) return false;
      return type_ != ValueType::kMissing ||
             fail(DecodeError::kBadProfileCommand, "ADD or REMOVE has no value");
    case wire::ProfileCommand::INCR:
    case wire::ProfileCommand::DECR:
      target.operation = static_cast<uint32_t>(operation) == wire::ProfileCommand::INCR
                             ? ProfileOperation::kIncrement
                             : ProfileOperation::kDecrement;
      if (!value(pieces.whole(), target, 1)) return false;
      return type_ == ValueType::kNumber ||
             fail(DecodeError::kBadProfileCommand, "INCR and DECR take a number");
    default:
      return fail(DecodeError::kBadProfileCommand, "a profile command has no known operation");
  }
}

// Takes a piece of a PropertyValue. Each must be a message by itself.
bool ProtobufDecoder::piece(std::string_view message, Pieces* pieces) {
  const Target checked{.log = &found_};
  if (pieces->count() == 1 && !value(pieces->whole(), checked, 1)) return false;
  if (pieces->count() > 0 && !value(message, checked, 1)) return false;
  pieces->add(message);
  return true;
}

// What a PropertyValue message holds; its type is in `type_` then. `depth`: lists around it, and
// the message itself.
bool ProtobufDecoder::value(std::string_view message, const Target& target, int depth) {
  uint32_t begin = target.log->size();
  Value last;
  bool list = false;
  const auto set = [&](const Value& scalar) {
    // Of a oneof the last counts.
    if (list) target.log->drop(begin, target.log->size());
    list = false;
    last = scalar;
  };
  Member member;
  while (!message.empty()) {
    if (!member.read(&message)) return malformed();
    if (member.is(wire::PropertyValue::kStringFieldNumber, Member::kBytes)) {
      std::string_view string;
      if (!text(member, &string)) return false;
      set(Value::String(string));
    } else if (member.is(wire::PropertyValue::kNumberFieldNumber, Member::kFixed64)) {
      set(Value::Number(std::bit_cast<double>(member.scalar)));
    } else if (member.is(wire::PropertyValue::kBooleanFieldNumber, Member::kVarint)) {
      set(Value::Boolean(member.scalar != 0));
    } else if (member.is(wire::PropertyValue::kListFieldNumber, Member::kBytes)) {
      if (!list) begin = target.log->size();
      list = true;
      last = Value();
      if (depth == kMaxJsonDepth) {
        return fail(DecodeError::kTooDeep,
                    fmt::format("lists are nested more than {} deep", kMaxJsonDepth));
      }
      Target items = target;
      items.kind = PropertyLog::Kind::kItem;
      Member element;
      for (std::string_view rest = member.bytes; !rest.empty();) {
        if (!element.read(&rest)) return malformed();
        if (element.is(wire::PropertyList::kValuesFieldNumber, Member::kBytes) &&
            !value(element.bytes, items, depth + 1)) {
          return false;
        }
      }
    }
  }
  type_ = list ? ValueType::kList : last.type();
  if (type_ == ValueType::kNumber && !std::isfinite(last.number())) {
    return fail(DecodeError::kBadNumber, "a number is infinite or not a number");
  }
  if (target.number == Target::kNoTarget || type_ == ValueType::kMissing) return true;
  if (!list) {
    target.log->add(target.number, target.kind, last, target.operation);
  } else if (target.kind == PropertyLog::Kind::kOnly) {
    target.log->add(target.number, PropertyLog::Kind::kPresent, Value(), target.operation);
  }
  return true;
}

bool ProtobufDecoder::text(const Member& member, std::string_view* out) {
  if (!simdjson::validate_utf8(member.bytes.data(), member.bytes.size())) {
    return fail(DecodeError::kInvalidUtf8, "a string is not UTF-8");
  }
  *out = member.bytes;
  return true;
}

bool ProtobufDecoder::fail(DecodeError error, std::string detail) {
  failure_->error = error;
  failure_->detail = std::move(detail);
  return false;
}

bool ProtobufDecoder::malformed() {
  return fail(DecodeError::kMalformedProtobuf, "the body is not a segments.v1.Event in Protobuf");
}

}  // namespace segmentd

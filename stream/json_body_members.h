// The members that the JSON formats of a body have: how they are named, and which of them the kinds
// of call use.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace segmentd {

// Members of a body that hold a scalar, and those that hold an object.
enum class BodyScalar : uint8_t {
  kType,
  kEvent,
  kUserId,
  kAnonymousId,
  kMessageId,
  kName,
  kCategory,
  kTimestamp,
  kOriginalTimestamp,
  kSentAt,
  kReceivedAt,
  kEvtName,
  kIdentity,
  kObjectId,
  kTs,
};
inline constexpr int kBodyScalars = static_cast<int>(BodyScalar::kTs) + 1;
enum class BodyPart : uint8_t {
  kProperties,
  kContext,
  kTraits,
  kContextTraits,
  kEvtData,
  kProfileData
};
inline constexpr int kBodyParts = static_cast<int>(BodyPart::kProfileData) + 1;

inline constexpr std::array<std::string_view, kBodyScalars> kBodyScalarNames = {
    "type",       "event",    "userId",    "anonymousId",       "messageId",
    "name",       "category", "timestamp", "originalTimestamp", "sentAt",
    "receivedAt", "evtName",  "identity",  "objectId",          "ts"};
inline constexpr std::array<std::string_view, kBodyParts> kBodyPartNames = {
    "properties", "context", "traits", "context.traits", "evtData", "profileData"};

constexpr std::string_view NameOf(BodyScalar scalar) {
  return kBodyScalarNames[static_cast<size_t>(scalar)];
}
constexpr std::string_view NameOf(BodyPart part) {
  return kBodyPartNames[static_cast<size_t>(part)];
}

// What the body is, by its `type`.
enum class CallType : uint8_t {
  kUnknown,
  kTrack,
  kIdentify,
  kPage,
  kScreen,
  // Understood, and without effect.
  kAlias,
  kGroup,
  kCleverTapEvent,
  kCleverTapProfile,
};

inline CallType CallOf(std::string_view type) {
  if (type == "track") return CallType::kTrack;
  if (type == "identify") return CallType::kIdentify;
  if (type == "page") return CallType::kPage;
  if (type == "screen") return CallType::kScreen;
  if (type == "alias") return CallType::kAlias;
  if (type == "group") return CallType::kGroup;
  if (type == "event") return CallType::kCleverTapEvent;
  if (type == "profile") return CallType::kCleverTapProfile;
  return CallType::kUnknown;
}

constexpr bool IsCleverTap(CallType call) {
  return call == CallType::kCleverTapEvent || call == CallType::kCleverTapProfile;
}

constexpr uint32_t BitOf(BodyPart part) {
  return 1U << static_cast<uint32_t>(part);
}

// The parts of the body that each call uses, by CallType.
inline constexpr std::array<uint32_t, 9> kUsedParts = {
    0,
    BitOf(BodyPart::kProperties) | BitOf(BodyPart::kContext),
    BitOf(BodyPart::kContext) | BitOf(BodyPart::kTraits) | BitOf(BodyPart::kContextTraits),
    BitOf(BodyPart::kProperties) | BitOf(BodyPart::kContext),
    BitOf(BodyPart::kProperties) | BitOf(BodyPart::kContext),
    0,
    0,
    BitOf(BodyPart::kContext) | BitOf(BodyPart::kEvtData),
    BitOf(BodyPart::kProfileData)};

constexpr bool Uses(CallType call, BodyPart part) {
  return (kUsedParts[static_cast<size_t>(call)] & BitOf(part)) != 0;
}

constexpr bool IsProfile(BodyPart part) {
  return part == BodyPart::kTraits || part == BodyPart::kContextTraits ||
         part == BodyPart::kProfileData;
}

// A key of the body's top level: a BodyScalar, kBodyScalars + a BodyPart, or one of these.
using BodyMember = uint32_t;
inline constexpr BodyMember kBatchMember = kBodyScalars + kBodyParts;
inline constexpr BodyMember kEventMessageMember = kBatchMember + 1;
inline constexpr BodyMember kOtherMember = kBatchMember + 2;

inline BodyMember MemberOf(std::string_view key) {
  const auto is = [key](BodyScalar s) {
    return key == NameOf(s) ? static_cast<BodyMember>(s) : kOtherMember;
  };
  const auto part = [key](BodyPart p) {
    return key == NameOf(p) ? kBodyScalars + static_cast<BodyMember>(p) : kOtherMember;
  };
  switch (key.size()) {
    case 1:
      return key == "d" ? kBatchMember : kOtherMember;
    case 2:
      return is(BodyScalar::kTs);
    case 4:
      return key[0] == 't' ? is(BodyScalar::kType) : is(BodyScalar::kName);
    case 5:
      if (key == "batch") return kBatchMember;
      return is(BodyScalar::kEvent);
    case 6:
      if (key[0] == 'u') return is(BodyScalar::kUserId);
      return key[0] == 't' ? part(BodyPart::kTraits) : is(BodyScalar::kSentAt);
    case 7:
      if (key[0] == 'c') return part(BodyPart::kContext);
      if (key == "profile") return kEventMessageMember;
      return key[3] == 'N' ? is(BodyScalar::kEvtName) : part(BodyPart::kEvtData);
    case 8:
      if (key[0] == 'i') return is(BodyScalar::kIdentity);
      return key[0] == 'o' ? is(BodyScalar::kObjectId) : is(BodyScalar::kCategory);
    case 9:
      return key[0] == 'm' ? is(BodyScalar::kMessageId) : is(BodyScalar::kTimestamp);
    case 10:
      return key[0] == 'p' ? part(BodyPart::kProperties) : is(BodyScalar::kReceivedAt);
    case 11:
      return key[0] == 'a' ? is(BodyScalar::kAnonymousId) : part(BodyPart::kProfileData);
    case 17:
      return is(BodyScalar::kOriginalTimestamp);
    default:
      return kOtherMember;
  }
}

}  // namespace segmentd

#include "stream/json_decoder.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/charconv.h"
#include "absl/strings/escaping.h"
#include "fmt/format.h"
#include "simdjson.h"

#include "segment/absl_view.h"
#include "stream/decoder.h"
#include "stream/event_time.h"
#include "stream/property_log.h"

namespace segmentd {
namespace {

namespace ondemand = simdjson::ondemand;

constexpr uint32_t kNoNode = Fields::kNoNode;
// Of profile paths.
constexpr uint32_t kNoPath = UINT32_MAX;
constexpr uint32_t kRootPath = UINT32_MAX - 1;

// Members of a body that hold a scalar, and those that hold an object.
enum class Scalar : uint8_t {
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
constexpr int kScalars = static_cast<int>(Scalar::kTs) + 1;
enum class Part : uint8_t {
  kProperties,
  kContext,
  kTraits,
  kContextTraits,
  kEvtData,
  kProfileData
};
constexpr int kParts = static_cast<int>(Part::kProfileData) + 1;

constexpr std::array<std::string_view, kScalars> kScalarNames = {
    "type",       "event",    "userId",    "anonymousId",       "messageId",
    "name",       "category", "timestamp", "originalTimestamp", "sentAt",
    "receivedAt", "evtName",  "identity",  "objectId",          "ts"};
constexpr std::array<std::string_view, kParts> kPartNames = {
    "properties", "context", "traits", "context.traits", "evtData", "profileData"};

// What the body is, by its `type`.
enum class Call : uint8_t {
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

Call CallOf(std::string_view type) {
  if (type == "track") return Call::kTrack;
  if (type == "identify") return Call::kIdentify;
  if (type == "page") return Call::kPage;
  if (type == "screen") return Call::kScreen;
  if (type == "alias") return Call::kAlias;
  if (type == "group") return Call::kGroup;
  if (type == "event") return Call::kCleverTapEvent;
  if (type == "profile") return Call::kCleverTapProfile;
  return Call::kUnknown;
}

bool IsCleverTap(Call call) {
  return call == Call::kCleverTapEvent || call == Call::kCleverTapProfile;
}

// Whether a call uses what is in this part of the body.
bool Uses(Call call, Part part) {
  switch (part) {
    case Part::kProperties:
      return call == Call::kTrack || call == Call::kPage || call == Call::kScreen;
    case Part::kContext:
      return call == Call::kTrack || call == Call::kPage || call == Call::kScreen ||
             call == Call::kCleverTapEvent;
    case Part::kTraits:
    case Part::kContextTraits:
      return call == Call::kIdentify;
    case Part::kEvtData:
      return call == Call::kCleverTapEvent;
    case Part::kProfileData:
      return call == Call::kCleverTapProfile;
  }
  return false;
}

constexpr bool IsProfile(Part part) {
  return part == Part::kTraits || part == Part::kContextTraits || part == Part::kProfileData;
}

// A key of the body's top level.
struct Member {
  enum class Kind : uint8_t { kOther, kScalar, kPart, kBatch, kEventMessage };
  Kind kind = Kind::kOther;
  Scalar scalar = Scalar::kType;
  Part part = Part::kProperties;
};

Member MemberOf(std::string_view key) {
  const auto scalar = [](Scalar s) { return Member{.kind = Member::Kind::kScalar, .scalar = s}; };
  const auto part = [](Part p) { return Member{.kind = Member::Kind::kPart, .part = p}; };
  switch (key.size()) {
    case 1:
      if (key == "d") return {.kind = Member::Kind::kBatch};
      break;
    case 2:
      if (key == "ts") return scalar(Scalar::kTs);
      break;
    case 4:
      if (key == "type") return scalar(Scalar::kType);
      if (key == "name") return scalar(Scalar::kName);
      break;
    case 5:
      if (key == "event") return scalar(Scalar::kEvent);
      if (key == "batch") return {.kind = Member::Kind::kBatch};
      break;
    case 6:
      if (key == "userId") return scalar(Scalar::kUserId);
      if (key == "traits") return part(Part::kTraits);
      if (key == "sentAt") return scalar(Scalar::kSentAt);
      break;
    case 7:
      if (key == "context") return part(Part::kContext);
      if (key == "evtName") return scalar(Scalar::kEvtName);
      if (key == "evtData") return part(Part::kEvtData);
      if (key == "profile") return {.kind = Member::Kind::kEventMessage};
      break;
    case 8:
      if (key == "identity") return scalar(Scalar::kIdentity);
      if (key == "objectId") return scalar(Scalar::kObjectId);
      if (key == "category") return scalar(Scalar::kCategory);
      break;
    case 9:
      if (key == "messageId") return scalar(Scalar::kMessageId);
      if (key == "timestamp") return scalar(Scalar::kTimestamp);
      break;
    case 10:
      if (key == "properties") return part(Part::kProperties);
      if (key == "receivedAt") return scalar(Scalar::kReceivedAt);
      break;
    case 11:
      if (key == "anonymousId") return scalar(Scalar::kAnonymousId);
      if (key == "profileData") return part(Part::kProfileData);
      break;
    case 17:
      if (key == "originalTimestamp") return scalar(Scalar::kOriginalTimestamp);
      break;
    default:
      break;
  }
  return {};
}

// What stands where a scalar is meant.
struct ScalarText {
  enum class Kind : uint8_t { kAbsent, kText, kNumber, kOther };
  Kind kind = Kind::kAbsent;
  // Of a number: as it is written.
  std::string_view text;
  double number = 0;
};

std::optional<ProfileOperation> OperationOf(std::string_view key) {
  if (key == "$set") return ProfileOperation::kSet;
  if (key == "$add") return ProfileOperation::kAdd;
  if (key == "$remove") return ProfileOperation::kRemove;
  if (key == "$delete") return ProfileOperation::kDelete;
  if (key == "$incr") return ProfileOperation::kIncrement;
  if (key == "$decr") return ProfileOperation::kDecrement;
  return std::nullopt;
}

// Text of a user's for a detail: short and printable.
std::string Quote(std::string_view text) {
  constexpr size_t kMost = 64;
  const bool cut = text.size() > kMost;
  while (cut && text.size() > kMost) {
    text = text.substr(0, kMost);
    // Not through a character.
    while (!text.empty() && (static_cast<unsigned char>(text.back()) & 0xC0) == 0x80)
      text.remove_suffix(1);
    if (!text.empty() && static_cast<unsigned char>(text.back()) >= 0xC0) text.remove_suffix(1);
  }
  return fmt::format("\"{}{}\"", absl::Utf8SafeCHexEscape(AbslView(text)), cut ? "…" : "");
}

constexpr std::string_view kBlank = " \t\r\n";

// As it is written.
std::string_view NumberText(ondemand::value value) {
  const std::string_view token = value.raw_json_token();
  return token.substr(0, token.find_last_not_of(kBlank) + 1);
}

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

// The dotted paths of profile properties, each once, numbered in order of their first appearance.
// Their texts do not move.
class ProfilePaths {
 public:
  void clear() {
    texts_.clear();
    numbers_.clear();
    chunk_ = 0;
    used_ = 0;
  }
  std::string_view text(uint32_t path) const { return texts_[path]; }

  // A path of one key, whose text outlives this use. kNoPath: too many, or too long.
  uint32_t root(std::string_view key) {
    return key.size() > kMaxProfilePathBytes ? kNoPath : number(key);
  }
  // `joint` is what stands between.
  uint32_t child(uint32_t parent, std::string_view joint, std::string_view key) {
    const std::string_view above = text(parent);
    const size_t size = above.size() + joint.size() + key.size();
    if (size > kMaxProfilePathBytes) return kNoPath;
    if (chunk_ == chunks_.size()) chunks_.push_back(std::make_unique<char[]>(kChunkBytes));
    char* const begin = chunks_[chunk_].get() + used_;
    char* end = std::copy(above.begin(), above.end(), begin);
    end = std::copy(joint.begin(), joint.end(), end);
    std::copy(key.begin(), key.end(), end);
    const size_t before = texts_.size();
    const uint32_t path = number({begin, size});
    if (texts_.size() != before) {
      used_ += size;
      if (used_ + kMaxProfilePathBytes > kChunkBytes) {
        ++chunk_;
        used_ = 0;
      }
    }
    return path;
  }

 private:
  static constexpr size_t kChunkBytes = 64 * 1024;

  uint32_t number(std::string_view text) {
    const auto [at, added] =
        numbers_.try_emplace(AbslView(text), static_cast<uint32_t>(texts_.size()));
    if (added) {
      if (texts_.size() == kMaxProfilePaths) {
        numbers_.erase(at);
        return kNoPath;
      }
      texts_.push_back(text);
    }
    return at->second;
  }

  std::vector<std::string_view> texts_;
  absl::flat_hash_map<absl::string_view, uint32_t> numbers_;
  std::vector<std::unique_ptr<char[]>> chunks_;
  size_t chunk_ = 0;
  size_t used_ = 0;
};

// What a `$` at the beginning of a key means.
enum class Commands : uint8_t {
  // Nothing: a key like any other.
  kPlain,
  kUnderstood,
  // It stands where no command can be.
  kRefused,
};

// Where the walk is: what a value found here is, as a property of the event and of the profile.
struct Place {
  uint32_t node = kNoNode;
  uint32_t path = kNoPath;
  uint64_t scope = 0;
  // In a list of objects: there may be more values.
  bool listed = false;
  Commands commands = Commands::kPlain;
  ProfileOperation operation = ProfileOperation::kSet;

  bool used() const { return node != kNoNode || path != kNoPath; }
};

}  // namespace

struct JsonDecoder::Core {
  ondemand::parser parser;
  std::unique_ptr<char[]> text;
  size_t text_capacity = 0;

  const Fields* fields = nullptr;
  DecodeFailure* failure = nullptr;
  const char* text_begin = nullptr;
  size_t text_size = 0;
  ondemand::document document;

  // By Scalar; set where `scalars_seen` has the bit.
  std::array<ScalarText, kScalars> scalars;
  uint32_t scalars_seen = 0;
  // Where a part's values are in its log.
  struct Range {
    uint32_t begin = 0;
    uint32_t end = 0;
    // Neither an object nor null.
    bool wrong_type = false;
    bool there = false;
  };
  std::array<Range, kParts> parts;
  // Of context.page, for page calls.
  std::array<Value, 3> page;
  bool batch = false;
  bool event_message = false;

  // kUnknown until `type` has come.
  Call call = Call::kUnknown;
  // A `type` came after another: what was left out because of the first may be wanted.
  bool type_changed = false;
  bool leave_out = true;

  PropertyLog found;
  PropertyLog commanded;
  // Of all records, so that none is used again.
  uint64_t scopes = 0;
  ProfilePaths paths;
  std::vector<EventProperty> properties;
  std::vector<ProfileCommand> profile;

  Result decode(std::string_view body_text, Body* body);
  bool pass();
  bool fail(DecodeError error, std::string detail);
  bool malformed(simdjson::error_code error);
  bool too_deep();
  bool profile_too_large();

  bool member(std::string_view key, ondemand::value value);
  bool scalar_member(Scalar member, ondemand::value value);
  bool part_member(Part part, ondemand::value value);
  bool context_members(ondemand::object object, const Place& place);
  bool page_members(ondemand::value value, const Place& place);

  bool walk(ondemand::value value, const Place& place, int depth, Value* scalar = nullptr);
  bool walk_object(ondemand::object object, const Place& place, int depth);
  bool walk_list(ondemand::array list, const Place& place, Place* element, int depth);
  bool command(ProfileOperation operation, ondemand::value value, const Place& place, int depth);
  bool check(ondemand::value value, int depth);
  bool read_scalar(ondemand::json_type type, ondemand::value value, Value* out);
  bool read_number(ondemand::value value, double* out);

  bool enter(const Place& in, std::string_view key, Place* at);
  void leave(const Place& at);
  void add(const Place& at, PropertyLog::Kind kind, const Value& value);

  const ScalarText& scalar(Scalar member) const;
  bool conclude(Body* body);
  bool scalar_text(Scalar member, size_t limit, std::string_view* out);
  bool user(Scalar known, Scalar anonymous, Body* body);
  bool event_name(Scalar member, Body* body);
  bool time(Scalar member, std::optional<Time>* out);
  bool segment_time(Body* body);
  void add_missing(std::string_view name, const Value& value);
};

JsonDecoder::JsonDecoder() : core_(std::make_unique<Core>()) {}
JsonDecoder::~JsonDecoder() = default;

JsonDecoder::Result JsonDecoder::decode(std::string_view text, const Fields& fields, Body* body,
                                        DecodeFailure* failure) {
  core_->fields = &fields;
  core_->failure = failure;
  return core_->decode(text, body);
}

JsonDecoder::Result JsonDecoder::Core::decode(std::string_view body_text, Body* body) {
  constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
  if (body_text.substr(0, 3) == kByteOrderMark) body_text.remove_prefix(3);
  if (body_text.size() > text_capacity || text == nullptr) {
    text_capacity = std::max<size_t>(std::bit_ceil(body_text.size()), 4096);
    text = std::make_unique<char[]>(text_capacity + simdjson::SIMDJSON_PADDING);
    if (parser.allocate(text_capacity, kMaxJsonDepth + 2) != simdjson::SUCCESS) {
      fail(DecodeError::kTooLarge, "there is no memory for a body of this size");
      return Result::kFailed;
    }
  }
  std::memcpy(text.get(), body_text.data(), body_text.size());
  // What came before must not show through.
  std::memset(text.get() + body_text.size(), 0, simdjson::SIMDJSON_PADDING);
  text_begin = text.get();
  text_size = body_text.size();

  leave_out = true;
  if (!pass()) return Result::kFailed;
  if (type_changed) {
    leave_out = false;
    if (!pass()) return Result::kFailed;
  }
  if (conclude(body)) return Result::kOk;
  return event_message && scalar(Scalar::kType).kind == ScalarText::Kind::kAbsent
             ? Result::kEventMessage
             : Result::kFailed;
}

// One walk through the whole body.
bool JsonDecoder::Core::pass() {
  scalars_seen = 0;
  parts = {};
  page = {};
  batch = false;
  event_message = false;
  call = Call::kUnknown;
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
    ondemand::field field;
    if (const auto error = std::move(next).get(field)) return malformed(error);
    std::string_view key;
    if (const auto error = field.unescaped_key().get(key)) return malformed(error);
    if (!member(key, field.value())) return false;
  }
  const char* rest = nullptr;
  if (document.current_location().get(rest) != simdjson::OUT_OF_BOUNDS) {
    return malformed(simdjson::TRAILING_CONTENT);
  }
  return true;
}

bool JsonDecoder::Core::fail(DecodeError error, std::string detail) {
  failure->error = error;
  failure->detail = std::move(detail);
  return false;
}

bool JsonDecoder::Core::too_deep() {
  return fail(DecodeError::kTooDeep,
              fmt::format("objects and lists are nested more than {} deep", kMaxJsonDepth));
}

bool JsonDecoder::Core::malformed(simdjson::error_code error) {
  // Which of several faults simdjson's first stage reports differs between processors; a dead
  // letter must not.
  if (error == simdjson::UTF8_ERROR || error == simdjson::UNCLOSED_STRING ||
      error == simdjson::UNESCAPED_CHARS) {
    if (!simdjson::validate_utf8(text_begin, text_size)) {
      return fail(DecodeError::kInvalidUtf8, "the body is not UTF-8");
    }
    return fail(DecodeError::kMalformedJson,
                "a string does not end, or holds a control character that is not escaped");
  }
  if (error == simdjson::EMPTY) return fail(DecodeError::kEmptyBody, "the body is blank");
  if (error == simdjson::TRAILING_CONTENT) {
    return fail(DecodeError::kMalformedJson,
                "something follows the object that is the body; send one record an event");
  }
  if (error == simdjson::STRING_ERROR) {
    return fail(DecodeError::kMalformedJson,
                "a string has an escape that JSON does not know, or half of a surrogate pair");
  }
  const size_t first = std::string_view(text_begin, text_size).find_first_not_of(kBlank);
  if (first == std::string_view::npos || text_begin[first] != '{')
    return fail(DecodeError::kMalformedJson, "the body is not a JSON object");
  const char* at = nullptr;
  if (document.current_location().get(at) == simdjson::SUCCESS && at >= text_begin &&
      at < text_begin + text_size) {
    return fail(DecodeError::kMalformedJson, fmt::format("not JSON near byte {}", at - text_begin));
  }
  return fail(DecodeError::kMalformedJson, "not JSON: it breaks off, or a bracket is missing");
}

bool JsonDecoder::Core::member(std::string_view key, ondemand::value value) {
  const Member member = MemberOf(key);
  switch (member.kind) {
    case Member::Kind::kScalar:
      return scalar_member(member.scalar, value);
    case Member::Kind::kPart:
      return part_member(member.part, value);
    case Member::Kind::kBatch:
      batch = true;
      break;
    case Member::Kind::kEventMessage:
      event_message = true;
      break;
    case Member::Kind::kOther:
      break;
  }
  return check(value, 1);
}

bool JsonDecoder::Core::scalar_member(Scalar member, ondemand::value value) {
  const auto index = static_cast<size_t>(member);
  ScalarText& s = scalars[index];
  const bool again = (scalars_seen >> index & 1) != 0;
  scalars_seen |= 1U << index;

  ondemand::json_type type{};
  if (const auto error = value.type().get(type)) return malformed(error);
  if (type == ondemand::json_type::string) {
    s.kind = ScalarText::Kind::kText;
    if (const auto error = value.get_string().get(s.text)) return malformed(error);
  } else if (type == ondemand::json_type::number) {
    s.kind = ScalarText::Kind::kNumber;
    s.text = NumberText(value);
    if (!read_number(value, &s.number)) return false;
  } else {
    s.kind =
        type == ondemand::json_type::null ? ScalarText::Kind::kAbsent : ScalarText::Kind::kOther;
    if (!check(value, 1)) return false;
  }

  if (member == Scalar::kType) {
    type_changed |= again;
    call = s.kind == ScalarText::Kind::kText ? CallOf(s.text) : Call::kUnknown;
  } else if (member == Scalar::kName) {
    event_message = true;
  }
  return true;
}

bool JsonDecoder::Core::part_member(Part part, ondemand::value value) {
  Range& range = parts[static_cast<size_t>(part)];
  PropertyLog& log = IsProfile(part) ? commanded : found;
  log.drop(range.begin, range.end);
  range = {.begin = log.size(), .end = log.size()};
  if (part == Part::kContext) {
    Range& traits = parts[static_cast<size_t>(Part::kContextTraits)];
    commanded.drop(traits.begin, traits.end);
    traits = {};
    page = {};
  }

  ondemand::json_type type{};
  if (const auto error = value.type().get(type)) return malformed(error);
  if (type == ondemand::json_type::array) {
    // PHP writes an empty object as an empty list.
    ondemand::array list;
    if (const auto error = value.get_array().get(list)) return malformed(error);
    for (auto next : list) {
      range.wrong_type = true;
      ondemand::value element;
      if (const auto error = std::move(next).get(element)) return malformed(error);
      if (!check(element, 2)) return false;
    }
    return true;
  }
  if (type != ondemand::json_type::object) {
    range.wrong_type = type != ondemand::json_type::null;
    return check(value, 1);
  }
  range.there = true;

  const bool wanted = !leave_out || call == Call::kUnknown || Uses(call, part) ||
                      (part == Part::kContext && Uses(call, Part::kContextTraits));
  if (!wanted) return check(value, 1);
  if (IsProfile(part) && commanded.size() == 0) paths.clear();

  ondemand::object object;
  if (const auto error = value.get_object().get(object)) return malformed(error);
  Place place{.scope = ++scopes};
  bool ok = false;
  switch (part) {
    case Part::kProperties:
    case Part::kEvtData:
      place.node = 0;
      ok = walk_object(object, place, 2);
      break;
    case Part::kContext:
      place.node = fields->child(0, "context");
      ok = context_members(object, place);
      break;
    case Part::kTraits:
    case Part::kContextTraits:
      place.path = kRootPath;
      ok = walk_object(object, place, 2);
      break;
    case Part::kProfileData:
      place.path = kRootPath;
      place.commands = Commands::kUnderstood;
      ok = walk_object(object, place, 2);
      break;
  }
  range.end = log.size();
  return ok;
}

bool JsonDecoder::Core::context_members(ondemand::object object, const Place& place) {
  if (place.node != kNoNode) add(place, PropertyLog::Kind::kPresent, Value());
  for (auto next : object) {
    ondemand::field field;
    if (const auto error = std::move(next).get(field)) return malformed(error);
    std::string_view key;
    if (const auto error = field.unescaped_key().get(key)) return malformed(error);
    Place at;
    if (!enter(place, key, &at)) return false;
    if (key == "page") {
      if (!page_members(field.value(), at)) return false;
    } else if (key == "traits" &&
               (!leave_out || call == Call::kUnknown || call == Call::kIdentify)) {
      Range& range = parts[static_cast<size_t>(Part::kContextTraits)];
      commanded.drop(range.begin, range.end);
      if (commanded.size() == 0) paths.clear();
      range = {.begin = commanded.size(), .end = commanded.size()};
      ondemand::json_type type{};
      if (const auto error = field.value().type().get(type)) return malformed(error);
      range.there = type == ondemand::json_type::object;
      if (range.there) at.path = kRootPath;
      at.scope = ++scopes;
      if (!walk(field.value(), at, 2)) return false;
      range.end = commanded.size();
      at.path = kNoPath;
    } else if (!walk(field.value(), at, 2)) {
      return false;
    }
    leave(at);
  }
  return true;
}

bool JsonDecoder::Core::page_members(ondemand::value value, const Place& place) {
  constexpr std::array<std::string_view, 3> kCaptured = {"url", "referrer", "title"};
  page = {};
  ondemand::json_type type{};
  if (const auto error = value.type().get(type)) return malformed(error);
  if (type != ondemand::json_type::object) return walk(value, place, 2);
  add(place, PropertyLog::Kind::kPresent, Value());
  ondemand::object object;
  if (const auto error = value.get_object().get(object)) return malformed(error);
  for (auto next : object) {
    ondemand::field field;
    if (const auto error = std::move(next).get(field)) return malformed(error);
    std::string_view key;
    if (const auto error = field.unescaped_key().get(key)) return malformed(error);
    Place at;
    if (!enter(place, key, &at)) return false;
    const auto* const captured = std::find(kCaptured.begin(), kCaptured.end(), key);
    Value* const scalar = captured == kCaptured.end()
                              ? nullptr
                              : &page[static_cast<size_t>(captured - kCaptured.begin())];
    if (scalar != nullptr) *scalar = Value();
    if (!walk(field.value(), at, 3, scalar)) return false;
    leave(at);
  }
  return true;
}

// A value with `depth` objects and lists around it. `scalar`: also takes it, if it is one.
bool JsonDecoder::Core::walk(ondemand::value value, const Place& place, int depth, Value* scalar) {
  if (!place.used() && scalar == nullptr) return check(value, depth);
  ondemand::json_type type{};
  if (const auto error = value.type().get(type)) return malformed(error);
  switch (type) {
    case ondemand::json_type::object: {
      if (depth == kMaxJsonDepth) return too_deep();
      add(place, PropertyLog::Kind::kPresent, Value());
      ondemand::object object;
      if (const auto error = value.get_object().get(object)) return malformed(error);
      return walk_object(object, place, depth + 1);
    }
    case ondemand::json_type::array: {
      if (depth == kMaxJsonDepth) return too_deep();
      add(place, PropertyLog::Kind::kPresent, Value());
      ondemand::array list;
      if (const auto error = value.get_array().get(list)) return malformed(error);
      Place element{
          .listed = true,
          .commands = place.commands == Commands::kPlain ? Commands::kPlain : Commands::kRefused};
      if (place.node != kNoNode) element.node = fields->child(place.node, "[]");
      const uint32_t before = commanded.size();
      if (!walk_list(list, place, &element, depth + 1)) return false;
      if (place.path != kNoPath && !place.listed && commanded.size() == before &&
          place.operation == ProfileOperation::kSet) {
        commanded.add(place.path, PropertyLog::Kind::kPresent, Value());
      }
      return true;
    }
    default: {
      Value read;
      if (!read_scalar(type, value, &read)) return false;
      add(place, PropertyLog::Kind::kOnly, read);
      if (scalar != nullptr) *scalar = read;
      return true;
    }
  }
}

bool JsonDecoder::Core::walk_object(ondemand::object object, const Place& place, int depth) {
  // Of the commands here, by operation: the last of two alike wins.
  std::array<std::pair<uint32_t, uint32_t>, 8> given{};
  for (auto next : object) {
    ondemand::field field;
    if (const auto error = std::move(next).get(field)) return malformed(error);
    std::string_view key;
    if (const auto error = field.unescaped_key().get(key)) return malformed(error);
    if (place.commands != Commands::kPlain && !key.empty() && key[0] == '$') {
      const auto operation = OperationOf(key);
      if (!operation || place.commands == Commands::kRefused || place.path == kRootPath) {
        return fail(
            DecodeError::kBadProfileCommand,
            fmt::format(
                "{} can't stand here: a property's value is an object of $set, $add, $remove, "
                "$delete, $incr or $decr",
                Quote(key)));
      }
      auto& [begin, end] = given[static_cast<size_t>(*operation)];
      commanded.drop(begin, end);
      begin = commanded.size();
      if (!command(*operation, field.value(), place, depth)) return false;
      end = commanded.size();
      continue;
    }
    Place at;
    if (!enter(place, key, &at)) return false;
    if (!walk(field.value(), at, depth)) return false;
    leave(at);
  }
  return true;
}

// Scalars are at `place`, objects are `element`s. Lists in it count as part of it.
bool JsonDecoder::Core::walk_list(ondemand::array list, const Place& place, Place* element,
                                  int depth) {
  for (auto next : list) {
    ondemand::value value;
    if (const auto error = std::move(next).get(value)) return malformed(error);
    ondemand::json_type type{};
    if (const auto error = value.type().get(type)) return malformed(error);
    if (type == ondemand::json_type::object) {
      if (place.operation != ProfileOperation::kSet) {
        return fail(DecodeError::kBadProfileCommand,
                    "$add and $remove take a string, number or boolean, or a list of these");
      }
      if (place.path != kNoPath && element->path == kNoPath) {
        element->path = paths.child(place.path, "[]", "");
        if (element->path == kNoPath) return profile_too_large();
      }
      if (!element->used()) {
        if (!check(value, depth)) return false;
        continue;
      }
      if (depth == kMaxJsonDepth) return too_deep();
      element->scope = ++scopes;
      ondemand::object object;
      if (const auto error = value.get_object().get(object)) return malformed(error);
      if (!walk_object(object, *element, depth + 1)) return false;
    } else if (type == ondemand::json_type::array) {
      if (depth == kMaxJsonDepth) return too_deep();
      ondemand::array inner;
      if (const auto error = value.get_array().get(inner)) return malformed(error);
      if (!walk_list(inner, place, element, depth + 1)) return false;
    } else {
      Value read;
      if (!read_scalar(type, value, &read)) return false;
      if (read.missing()) continue;
      add(place, PropertyLog::Kind::kItem, read);
      if (element->node != kNoNode) {
        const FieldIndex field = fields->node(element->node).field;
        if (field != Fields::kNone) found.add(field, PropertyLog::Kind::kItem, read);
      }
    }
  }
  return true;
}

// CleverTap's `$…` on the property at `place`.
bool JsonDecoder::Core::command(ProfileOperation operation, ondemand::value value,
                                const Place& place, int depth) {
  Place at = place;
  at.node = kNoNode;
  at.operation = operation;
  at.commands = Commands::kRefused;
  ondemand::json_type type{};
  if (const auto error = value.type().get(type)) return malformed(error);
  const auto refuse = [&](std::string_view rule) {
    return fail(DecodeError::kBadProfileCommand,
                fmt::format("{}: {}", Quote(paths.text(place.path)), rule));
  };
  switch (operation) {
    case ProfileOperation::kSet:
      return walk(value, at, depth);
    case ProfileOperation::kDelete:
      if (!check(value, depth)) return false;
      commanded.add(at.path, PropertyLog::Kind::kOnly, Value(), operation);
      return true;
    case ProfileOperation::kAdd:
    case ProfileOperation::kRemove: {
      if (type == ondemand::json_type::array) return walk(value, at, depth);
      if (type == ondemand::json_type::object || type == ondemand::json_type::null) {
        return refuse("$add and $remove take a string, number or boolean, or a list of these");
      }
      Value read;
      if (!read_scalar(type, value, &read)) return false;
      commanded.add(at.path, PropertyLog::Kind::kItem, read, operation);
      return true;
    }
    case ProfileOperation::kIncrement:
    case ProfileOperation::kDecrement: {
      if (type != ondemand::json_type::number) return refuse("$incr and $decr take a number");
      double number = 0;
      if (!read_number(value, &number)) return false;
      commanded.add(at.path, PropertyLog::Kind::kOnly, Value::Number(number), operation);
      return true;
    }
  }
  return false;
}

// A value that nothing is wanted of.
bool JsonDecoder::Core::check(ondemand::value value, int depth) {
  ondemand::json_type type{};
  if (const auto error = value.type().get(type)) return malformed(error);
  if (type == ondemand::json_type::object) {
    if (depth == kMaxJsonDepth) return too_deep();
    ondemand::object object;
    if (const auto error = value.get_object().get(object)) return malformed(error);
    for (auto next : object) {
      ondemand::field field;
      if (const auto error = std::move(next).get(field)) return malformed(error);
      if (const auto error = field.unescaped_key().error()) return malformed(error);
      if (!check(field.value(), depth + 1)) return false;
    }
    return true;
  }
  if (type == ondemand::json_type::array) {
    if (depth == kMaxJsonDepth) return too_deep();
    ondemand::array list;
    if (const auto error = value.get_array().get(list)) return malformed(error);
    for (auto next : list) {
      ondemand::value element;
      if (const auto error = std::move(next).get(element)) return malformed(error);
      if (!check(element, depth + 1)) return false;
    }
    return true;
  }
  Value ignored;
  return read_scalar(type, value, &ignored);
}

bool JsonDecoder::Core::read_scalar(ondemand::json_type type, ondemand::value value, Value* out) {
  switch (type) {
    case ondemand::json_type::string: {
      std::string_view string;
      if (const auto error = value.get_string().get(string)) return malformed(error);
      *out = Value::String(string);
      return true;
    }
    case ondemand::json_type::number: {
      double number = 0;
      if (!read_number(value, &number)) return false;
      *out = Value::Number(number);
      return true;
    }
    case ondemand::json_type::boolean: {
      bool boolean = false;
      if (const auto error = value.get_bool().get(boolean)) return malformed(error);
      *out = Value::Boolean(boolean);
      return true;
    }
    default: {
      bool null = false;
      if (const auto error = value.is_null().get(null)) return malformed(error);
      if (!null) return malformed(simdjson::N_ATOM_ERROR);
      *out = Value();
      return true;
    }
  }
}

bool JsonDecoder::Core::read_number(ondemand::value value, double* out) {
  if (value.get_double().get(*out) == simdjson::SUCCESS) return true;
  // simdjson refuses what is no number, but also too large a number and more than 19 digits of
  // exponent.
  const std::string_view token = NumberText(value);
  if (!IsJsonNumber(token)) return malformed(simdjson::NUMBER_ERROR);
  const auto result = absl::from_chars(token.data(), token.data() + token.size(), *out);
  if (result.ec == std::errc::result_out_of_range && std::abs(*out) > 1) {
    return fail(DecodeError::kBadNumber,
                fmt::format("{} is beyond the numbers of 64-bit floating point", Quote(token)));
  }
  return true;
}

bool JsonDecoder::Core::profile_too_large() {
  return fail(
      DecodeError::kProfileTooLarge,
      fmt::format("a record sets at most {} profile properties, with paths of at most {} bytes",
                  kMaxProfilePaths, kMaxProfilePathBytes));
}

// Goes from an object to what is under a key of it. `context` among the properties is out of reach:
// a path that begins so means the body's context.
bool JsonDecoder::Core::enter(const Place& in, std::string_view key, Place* at) {
  *at = in;
  if (in.node != kNoNode) {
    at->node = fields->child(in.node, key);
    if (at->node == kNoNode) {
      // A key may be written as the path that it means.
      if (key.find('.') != std::string_view::npos || key.ends_with("[]"))
        at->node = fields->find(in.node, key);
    } else if (in.node != 0 && key == "[]") {
      at->node = kNoNode;
    }
    if (in.node == 0 && at->node != kNoNode && key.starts_with("context") &&
        (key.size() == 7 || key[7] == '.' || key[7] == '[')) {
      at->node = kNoNode;
    }
    if (at->node != kNoNode) found.enter(at->node, in.scope);
  }
  if (in.path != kNoPath) {
    if (key.empty())
      return fail(DecodeError::kBadProfileCommand, "a profile property's name is empty");
    at->path = in.path == kRootPath ? paths.root(key) : paths.child(in.path, ".", key);
    if (at->path == kNoPath) return profile_too_large();
    commanded.enter(at->path, in.scope);
  }
  return true;
}

void JsonDecoder::Core::leave(const Place& at) {
  if (at.node != kNoNode) found.leave(at.node);
  if (at.path != kNoPath) commanded.leave(at.path);
}

// A missing value stands for null: no property, and the deletion of the profile's.
void JsonDecoder::Core::add(const Place& at, PropertyLog::Kind kind, const Value& value) {
  const bool present = kind == PropertyLog::Kind::kPresent;
  if (at.node != kNoNode && (present ? !at.listed : !value.missing())) {
    const FieldIndex field = fields->node(at.node).field;
    if (field != Fields::kNone)
      found.add(field, at.listed ? PropertyLog::Kind::kItem : kind, value);
  }
  if (at.path == kNoPath || present) return;
  if (!value.missing()) {
    commanded.add(at.path, at.listed ? PropertyLog::Kind::kItem : kind, value, at.operation);
  } else if (!at.listed) {
    commanded.add(at.path, PropertyLog::Kind::kOnly, Value(), ProfileOperation::kDelete);
  }
}

const ScalarText& JsonDecoder::Core::scalar(Scalar member) const {
  static constexpr ScalarText kNothing;
  const auto index = static_cast<size_t>(member);
  return (scalars_seen >> index & 1) != 0 ? scalars[index] : kNothing;
}

// What was found, as a body.
bool JsonDecoder::Core::conclude(Body* body) {
  *body = {};
  if (call == Call::kUnknown) {
    const ScalarText& type = scalar(Scalar::kType);
    if (type.kind == ScalarText::Kind::kAbsent && batch) {
      return fail(DecodeError::kBatch, "a batch of events: send each as a record of its own");
    }
    const bool clever_tap = scalars_seen >> static_cast<int>(Scalar::kEvtName) != 0 ||
                            parts[static_cast<size_t>(Part::kEvtData)].there ||
                            parts[static_cast<size_t>(Part::kProfileData)].there;
    const std::string_view allowed =
        clever_tap ? "event or profile" : "track, identify, page, screen, alias or group";
    if (type.kind == ScalarText::Kind::kAbsent) {
      return fail(DecodeError::kUnknownType, fmt::format("\"type\" is missing: write {}", allowed));
    }
    if (type.kind == ScalarText::Kind::kOther) {
      return fail(DecodeError::kWrongType, fmt::format("\"type\" is no string: write {}", allowed));
    }
    return fail(DecodeError::kUnknownType,
                fmt::format("type {} is not known: write {}", Quote(type.text), allowed));
  }

  if (!(IsCleverTap(call) ? user(Scalar::kIdentity, Scalar::kObjectId, body)
                          : user(Scalar::kUserId, Scalar::kAnonymousId, body)) ||
      !scalar_text(Scalar::kMessageId, kMaxIdBytes, &body->message_id)) {
    return false;
  }
  switch (call) {
    case Call::kTrack:
      if (!event_name(Scalar::kEvent, body)) return false;
      break;
    case Call::kCleverTapEvent:
      if (!event_name(Scalar::kEvtName, body)) return false;
      break;
    case Call::kPage:
      body->name = kPageViewed;
      break;
    case Call::kScreen:
      body->name = kScreenViewed;
      break;
    default:
      break;
  }
  if (!(IsCleverTap(call) ? time(Scalar::kTs, &body->time) : segment_time(body))) return false;

  if (parts[static_cast<size_t>(Part::kTraits)].there) {
    const Range& range = parts[static_cast<size_t>(Part::kContextTraits)];
    commanded.drop(range.begin, range.end);
  }
  for (int i = 0; i < kParts; ++i) {
    const auto part = static_cast<Part>(i);
    const Range& range = parts[static_cast<size_t>(i)];
    if (!Uses(call, part)) {
      (IsProfile(part) ? commanded : found).drop(range.begin, range.end);
    } else if (range.wrong_type) {
      return fail(DecodeError::kWrongType,
                  fmt::format("\"{}\" is not an object", kPartNames[static_cast<size_t>(i)]));
    }
  }
  properties.clear();
  found.gather([this](FieldIndex field, ProfileOperation, const Value& value) {
    properties.push_back({.field = field, .value = value});
  });
  if (call == Call::kPage) {
    add_missing("url", page[0]);
    add_missing("referrer", page[1]);
    add_missing("title", page[2]);
  }
  if (call == Call::kPage || call == Call::kScreen) {
    for (const Scalar member : {Scalar::kName, Scalar::kCategory}) {
      const ScalarText& s = scalar(member);
      if (s.kind == ScalarText::Kind::kText) {
        add_missing(kScalarNames[static_cast<size_t>(member)], Value::String(s.text));
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

// Strings, and numbers as they are written; empty when absent.
bool JsonDecoder::Core::scalar_text(Scalar member, size_t limit, std::string_view* out) {
  const ScalarText& s = scalar(member);
  const std::string_view name = kScalarNames[static_cast<size_t>(member)];
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

bool JsonDecoder::Core::user(Scalar known, Scalar anonymous, Body* body) {
  if (!scalar_text(known, kMaxIdBytes, &body->user)) return false;
  if (body->user.empty() && !scalar_text(anonymous, kMaxIdBytes, &body->user)) return false;
  if (!body->user.empty()) return true;
  return fail(DecodeError::kNoUser, fmt::format("neither \"{}\" nor \"{}\" names the user",
                                                kScalarNames[static_cast<size_t>(known)],
                                                kScalarNames[static_cast<size_t>(anonymous)]));
}

bool JsonDecoder::Core::event_name(Scalar member, Body* body) {
  const ScalarText& s = scalar(member);
  const std::string_view name = kScalarNames[static_cast<size_t>(member)];
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

bool JsonDecoder::Core::time(Scalar member, std::optional<Time>* out) {
  const ScalarText& s = scalar(member);
  const bool seconds = member == Scalar::kTs;
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
          "\"{}\" {} is no time: write {}", kScalarNames[static_cast<size_t>(member)],
          s.kind == ScalarText::Kind::kOther ? "" : Quote(s.text),
          seconds
              ? "a number of seconds since 1970"
              : "ISO 8601, such as 2026-04-01T09:00:00Z, or a number of milliseconds since 1970"));
}

// `timestamp`; without it `originalTimestamp`, corrected by what the sender's clock was off, where
// that is told.
bool JsonDecoder::Core::segment_time(Body* body) {
  if (!time(Scalar::kTimestamp, &body->time)) return false;
  if (body->time || scalar(Scalar::kOriginalTimestamp).kind == ScalarText::Kind::kAbsent)
    return true;
  std::optional<Time> sent;
  std::optional<Time> received;
  if (!time(Scalar::kOriginalTimestamp, &body->time) || !time(Scalar::kSentAt, &sent) ||
      !time(Scalar::kReceivedAt, &received)) {
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

// A property that the body holds elsewhere, unless `properties` has it.
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

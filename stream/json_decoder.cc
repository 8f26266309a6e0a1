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

constexpr uint32_t BitOf(Part part) {
  return 1U << static_cast<uint32_t>(part);
}

// The parts of the body that each call uses, by Call.
constexpr std::array<uint32_t, 9> kUsed = {
    0,
    BitOf(Part::kProperties) | BitOf(Part::kContext),
    BitOf(Part::kContext) | BitOf(Part::kTraits) | BitOf(Part::kContextTraits),
    BitOf(Part::kProperties) | BitOf(Part::kContext),
    BitOf(Part::kProperties) | BitOf(Part::kContext),
    0,
    0,
    BitOf(Part::kContext) | BitOf(Part::kEvtData),
    BitOf(Part::kProfileData)};

bool Uses(Call call, Part part) {
  return (kUsed[static_cast<size_t>(call)] & BitOf(part)) != 0;
}

constexpr bool IsProfile(Part part) {
  return part == Part::kTraits || part == Part::kContextTraits || part == Part::kProfileData;
}

// A key of the body's top level: a Scalar, kScalars + a Part, or one of these.
using Member = uint32_t;
constexpr Member kBatchMember = kScalars + kParts;
constexpr Member kEventMessageMember = kBatchMember + 1;
constexpr Member kOtherMember = kBatchMember + 2;

Member MemberOf(std::string_view key) {
  const auto is = [key](Scalar s) {
    return key == kScalarNames[static_cast<size_t>(s)] ? static_cast<Member>(s) : kOtherMember;
  };
  const auto part = [key](Part p) {
    return key == kPartNames[static_cast<size_t>(p)] ? kScalars + static_cast<Member>(p)
                                                     : kOtherMember;
  };
  switch (key.size()) {
    case 1:
      return key == "d" ? kBatchMember : kOtherMember;
    case 2:
      return is(Scalar::kTs);
    case 4:
      return key[0] == 't' ? is(Scalar::kType) : is(Scalar::kName);
    case 5:
      if (key == "batch") return kBatchMember;
      return is(Scalar::kEvent);
    case 6:
      if (key[0] == 'u') return is(Scalar::kUserId);
      return key[0] == 't' ? part(Part::kTraits) : is(Scalar::kSentAt);
    case 7:
      if (key[0] == 'c') return part(Part::kContext);
      if (key == "profile") return kEventMessageMember;
      return key[3] == 'N' ? is(Scalar::kEvtName) : part(Part::kEvtData);
    case 8:
      if (key[0] == 'i') return is(Scalar::kIdentity);
      return key[0] == 'o' ? is(Scalar::kObjectId) : is(Scalar::kCategory);
    case 9:
      return key[0] == 'm' ? is(Scalar::kMessageId) : is(Scalar::kTimestamp);
    case 10:
      return key[0] == 'p' ? part(Part::kProperties) : is(Scalar::kReceivedAt);
    case 11:
      return key[0] == 'a' ? is(Scalar::kAnonymousId) : part(Part::kProfileData);
    case 17:
      return is(Scalar::kOriginalTimestamp);
    default:
      return kOtherMember;
  }
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
std::string_view NumberText(ondemand::value& value) {
  const std::string_view token = value.raw_json_token();
  return token.substr(0, token.find_last_not_of(kBlank) + 1);
}

// What stands before the next quote, which there is, with simdjson's padding after the body. Most
// strings here are short: eight bytes at a time are faster than a call of memchr().
// The first zero byte of a word: Mycroft's test, as in "Hacker's Delight" 6-1.
std::string_view BeforeQuote(const char* begin) {
  static_assert(std::endian::native == std::endian::little);
  static_assert(simdjson::SIMDJSON_PADDING >= sizeof(uint64_t));
  constexpr uint64_t kOnes = 0x0101010101010101;
  for (const char* at = begin;; at += sizeof(uint64_t)) {
    uint64_t word = 0;
    std::memcpy(&word, at, sizeof(word));
    word ^= kOnes * '"';
    const uint64_t zero = (word - kOnes) & ~word & kOnes << 7;
    if (zero != 0) return {begin, static_cast<size_t>(at + std::countr_zero(zero) / 8 - begin)};
  }
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
  static constexpr size_t kChunkBytes = size_t{64} * 1024;

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
// Passed in a register.
struct Place {
  uint32_t node = kNoNode;
  uint32_t path = kNoPath;

  bool used() const { return node != kNoNode || path != kNoPath; }
};

// What is the same for all that is in an object, and in the objects within, until a list begins.
struct Surroundings {
  uint64_t scope = 0;
  // In a list of objects: there may be more values.
  bool listed = false;
  Commands commands = Commands::kPlain;
  ProfileOperation operation = ProfileOperation::kSet;
};

// A list: its scalars are at `place`, what its objects hold is at `element`.
struct List {
  Place place;
  const Surroundings& around;
  Place element;
  Surroundings elements;
};

constexpr std::string_view kListRule =
    "$add and $remove take a string, number or boolean, or a list of these";

}  // namespace

struct JsonDecoder::Core {
  ondemand::parser parser;
  std::unique_ptr<char[]> text;
  size_t text_capacity = 0;

  const Fields* fields = nullptr;
  DecodeFailure* failure = nullptr;
  const char* text_begin = nullptr;
  size_t text_size = 0;
  // No string of the body has an escape: each is what stands between its quotes, and is not copied.
  bool plain = false;
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

  [[gnu::always_inline]] bool read_key(ondemand::field& field, std::string_view* key) {
    if (plain) {
      *key = BeforeQuote(field.key().raw());
      return true;
    }
    const auto error = field.unescaped_key().get(*key);
    return error == simdjson::SUCCESS || malformed(error);
  }
  [[gnu::always_inline]] bool read_string(ondemand::value& value, std::string_view* string) {
    if (plain) {
      ondemand::raw_json_string raw;
      if (const auto error = value.get_raw_json_string().get(raw)) return malformed(error);
      *string = BeforeQuote(raw.raw());
      return true;
    }
    const auto error = value.get_string().get(*string);
    return error == simdjson::SUCCESS || malformed(error);
  }

  bool member(std::string_view key, ondemand::value& value);
  bool scalar_member(Scalar member, ondemand::value& value);
  bool part_member(Part part, ondemand::value& value);
  bool context_members(ondemand::object& object, Place place, const Surroundings& around);
  bool page_members(ondemand::value& value, Place place, const Surroundings& around);
  bool traits_of_context(ondemand::value& value, Place place, const Surroundings& around);

  bool walk(ondemand::value& value, Place place, const Surroundings& around, int depth,
            Value* scalar = nullptr);
  bool walk_object(ondemand::object& object, Place place, const Surroundings& around, int depth);
  bool walk_list(ondemand::array& list, List* in, int depth);
  bool command(ProfileOperation operation, ondemand::value& value, uint32_t path,
               const Surroundings& around, int depth);
  bool check(ondemand::value& value, int depth);
  Value read_scalar(ondemand::json_type type, ondemand::value& value, bool* ok);
  bool read_number(ondemand::value& value, double* out);

  bool enter(Place in, const Surroundings& around, std::string_view key, Place* at);
  void leave(Place at);
  uint32_t child(uint32_t node, std::string_view key) const;
  void add(Place at, const Surroundings& around, PropertyLog::Kind kind, Value value);

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
  plain = std::memchr(text_begin, '\\', text_size) == nullptr;

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
  // Told before anything is looked at: the last of the body closes nothing.
  if (error == simdjson::INCOMPLETE_ARRAY_OR_OBJECT) {
    return fail(DecodeError::kMalformedJson,
                "not JSON: it breaks off, a bracket is missing, or something follows the object");
  }
  const char* at = nullptr;
  if (document.current_location().get(at) == simdjson::SUCCESS && at >= text_begin &&
      at < text_begin + text_size) {
    return fail(DecodeError::kMalformedJson, fmt::format("not JSON near byte {}", at - text_begin));
  }
  return fail(DecodeError::kMalformedJson, "not JSON: it breaks off, or a bracket is missing");
}

bool JsonDecoder::Core::member(std::string_view key, ondemand::value& value) {
  const Member member = MemberOf(key);
  if (member < kScalars) return scalar_member(static_cast<Scalar>(member), value);
  if (member < kScalars + kParts) return part_member(static_cast<Part>(member - kScalars), value);
  batch |= member == kBatchMember;
  event_message |= member == kEventMessageMember;
  return check(value, 1);
}

bool JsonDecoder::Core::scalar_member(Scalar member, ondemand::value& value) {
  const auto index = static_cast<size_t>(member);
  ScalarText& s = scalars[index];
  const bool again = (scalars_seen >> index & 1) != 0;
  scalars_seen |= 1U << index;

  ondemand::json_type type{};
  if (const auto error = value.type().get(type)) return malformed(error);
  if (type == ondemand::json_type::string) {
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

  if (member == Scalar::kType) {
    type_changed |= again;
    call = s.kind == ScalarText::Kind::kText ? CallOf(s.text) : Call::kUnknown;
  } else if (member == Scalar::kName) {
    event_message = true;
  }
  return true;
}

bool JsonDecoder::Core::part_member(Part part, ondemand::value& value) {
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

  const bool wanted = !leave_out || call == Call::kUnknown || Uses(call, part) ||
                      (part == Part::kContext && Uses(call, Part::kContextTraits));
  if (!wanted) return check(value, 1);
  if (IsProfile(part) && commanded.size() == 0) paths.clear();

  auto object = value.get_object();
  if (object.error()) return malformed(object.error());
  Surroundings around{.scope = ++scopes};
  bool ok = false;
  switch (part) {
    case Part::kProperties:
    case Part::kEvtData:
      ok = walk_object(object.value_unsafe(), Place{.node = 0}, around, 2);
      break;
    case Part::kContext:
      ok = context_members(object.value_unsafe(), Place{.node = fields->child(0, "context")},
                           around);
      break;
    case Part::kProfileData:
      around.commands = Commands::kUnderstood;
      [[fallthrough]];
    case Part::kTraits:
    case Part::kContextTraits:
      ok = walk_object(object.value_unsafe(), Place{.path = kRootPath}, around, 2);
      break;
  }
  range.end = log.size();
  return ok;
}

bool JsonDecoder::Core::context_members(ondemand::object& object, Place place,
                                        const Surroundings& around) {
  add(place, around, PropertyLog::Kind::kPresent, Value());
  for (auto next : object) {
    if (next.error()) return malformed(next.error());
    ondemand::field& field = next.value_unsafe();
    std::string_view key;
    if (!read_key(field, &key)) return false;
    Place at;
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

// As a property of the event, and for an identify call as the user's profile.
bool JsonDecoder::Core::traits_of_context(ondemand::value& value, Place place,
                                          const Surroundings& around) {
  if (leave_out && call != Call::kUnknown && call != Call::kIdentify) {
    return walk(value, place, around, 2);
  }
  Range& range = parts[static_cast<size_t>(Part::kContextTraits)];
  commanded.drop(range.begin, range.end);
  if (commanded.size() == 0) paths.clear();
  range = {.begin = commanded.size(), .end = commanded.size()};
  ondemand::json_type type{};
  if (const auto error = value.type().get(type)) return malformed(error);
  range.there = type == ondemand::json_type::object;
  if (range.there) place.path = kRootPath;
  if (!walk(value, place, Surroundings{.scope = ++scopes}, 2)) return false;
  range.end = commanded.size();
  return true;
}

bool JsonDecoder::Core::page_members(ondemand::value& value, Place place,
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
    Place at;
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

// A value with `depth` objects and lists around it. `scalar`: also takes it, if it is one.
bool JsonDecoder::Core::walk(ondemand::value& value, Place place, const Surroundings& around,
                             int depth, Value* scalar) {
  if (!place.used() && scalar == nullptr) return check(value, depth);
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
      List in{.place = place, .around = around};
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
      if (!ok) return false;
      add(place, around, PropertyLog::Kind::kOnly, read);
      if (scalar != nullptr) *scalar = read;
      return true;
    }
  }
}

bool JsonDecoder::Core::walk_object(ondemand::object& object, Place place,
                                    const Surroundings& around, int depth) {
  // Of the commands here, by operation: the last of two alike wins.
  std::array<std::pair<uint32_t, uint32_t>, 8> given;
  if (around.commands != Commands::kPlain) given.fill({0, 0});
  for (auto next : object) {
    if (next.error()) return malformed(next.error());
    ondemand::field& field = next.value_unsafe();
    std::string_view key;
    if (!read_key(field, &key)) return false;
    if (around.commands != Commands::kPlain && !key.empty() && key[0] == '$') {
      const auto operation = OperationOf(key);
      if (!operation || around.commands == Commands::kRefused || place.path == kRootPath) {
        return fail(DecodeError::kBadProfileCommand,
                    fmt::format("{} can't stand here: a property's value is an object of $set, "
                                "$add, $remove, $delete, $incr or $decr",
                                Quote(key)));
      }
      auto& [begin, end] = given[static_cast<size_t>(*operation)];
      commanded.drop(begin, end);
      begin = commanded.size();
      if (!command(*operation, field.value(), place.path, around, depth)) return false;
      end = commanded.size();
      continue;
    }
    Place at;
    if (!enter(place, around, key, &at)) return false;
    if (!walk(field.value(), at, around, depth)) return false;
    leave(at);
  }
  return true;
}

// A list in a list counts as part of it.
bool JsonDecoder::Core::walk_list(ondemand::array& list, List* in, int depth) {
  for (auto next : list) {
    if (next.error()) return malformed(next.error());
    ondemand::value& value = next.value_unsafe();
    ondemand::json_type type{};
    if (const auto error = value.type().get(type)) return malformed(error);
    if (type == ondemand::json_type::object) {
      if (in->around.operation != ProfileOperation::kSet) {
        return fail(DecodeError::kBadProfileCommand, std::string(kListRule));
      }
      if (in->place.path != kNoPath && in->element.path == kNoPath) {
        in->element.path = paths.child(in->place.path, "[]", "");
        if (in->element.path == kNoPath) return profile_too_large();
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
      add(Place{.node = in->element.node}, in->elements, PropertyLog::Kind::kItem, read);
    }
  }
  return true;
}

// CleverTap's `$…` on the profile property at `path`.
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
                fmt::format("{}: {}", Quote(paths.text(path)), rule));
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

// A value that nothing is wanted of.
bool JsonDecoder::Core::check(ondemand::value& value, int depth) {
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

// Returned in registers: through memory, the copy that follows would wait for the writes.
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

// Goes from an object to what is under a key of it.
bool JsonDecoder::Core::enter(Place in, const Surroundings& around, std::string_view key,
                              Place* at) {
  *at = Place();
  if (in.node != kNoNode) {
    const uint32_t node = child(in.node, key);
    at->node = node;
    if (node != kNoNode) found.enter(node, around.scope);
  }
  if (in.path != kNoPath) {
    if (key.empty()) {
      return fail(DecodeError::kBadProfileCommand, "a profile property's name is empty");
    }
    at->path = in.path == kRootPath ? paths.root(key) : paths.child(in.path, ".", key);
    if (at->path == kNoPath) return profile_too_large();
    commanded.enter(at->path, around.scope);
  }
  return true;
}

uint32_t JsonDecoder::Core::child(uint32_t node, std::string_view key) const {
  uint32_t child = fields->child(node, key);
  if (child == kNoNode) {
    // A key may be written as the path that it means.
    if (!fields->node(node).nested) return kNoNode;
    if (key.find('.') == std::string_view::npos && !key.ends_with("[]")) return kNoNode;
    child = fields->find(node, key);
    if (child == kNoNode) return kNoNode;
  } else if (node != 0 && key == "[]") {
    return kNoNode;
  }
  // Among the properties `context` is out of reach: a path that begins so means the body's.
  const bool context = node == 0 && key.starts_with("context") &&
                       (key.size() == 7 || key[7] == '.' || key[7] == '[');
  return context ? kNoNode : child;
}

void JsonDecoder::Core::leave(Place at) {
  if (at.node != kNoNode) found.leave(at.node);
  if (at.path != kNoPath) commanded.leave(at.path);
}

// A missing value stands for null: no property, and the deletion of the profile's.
void JsonDecoder::Core::add(Place at, const Surroundings& around, PropertyLog::Kind kind,
                            Value value) {
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
      if (range.begin != range.end)
        (IsProfile(part) ? commanded : found).drop(range.begin, range.end);
    } else if (range.wrong_type) {
      return fail(DecodeError::kWrongType,
                  fmt::format("\"{}\" is not an object", kPartNames[static_cast<size_t>(i)]));
    }
  }
  properties.clear();
  found.gather([this](FieldIndex field, ProfileOperation, const Value& value) {
    EventProperty& property = properties.emplace_back();
    property.field = field;
    property.value = value;
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
          "\"{}\"{} is no time: write {}", kScalarNames[static_cast<size_t>(member)],
          s.kind == ScalarText::Kind::kOther ? "" : " " + Quote(s.text),
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

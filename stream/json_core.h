// What the JSON decoder is made of, behind json_decoder.h and for its own sources alone:
// json_decoder.cc takes a text and tells what is wrong with it, json_members.cc walks through the
// members of the body, json_walk.cc through their values, and json_conclude.cc makes a body of what
// was found.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "simdjson.h"

#include "segment/event.h"
#include "segment/fields.h"
#include "segment/time.h"
#include "segment/value.h"
#include "stream/body.h"
#include "stream/decode_error.h"
#include "stream/json_body_members.h"
#include "stream/json_decoder.h"
#include "stream/profile_paths.h"
#include "stream/property_log.h"

namespace segmentd {

// JSON's white space.
inline constexpr std::string_view kBlank = " \t\r\n";

// A number as it is written.
inline std::string_view NumberText(simdjson::ondemand::value& value) {
  std::string_view token = value.raw_json_token();
  // Compared one by one: find() of kBlank would be a call for each character.
  const auto blank = [](char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; };
  while (blank(token.back())) token.remove_suffix(1);
  return token;
}

struct JsonDecoder::Core {
  static constexpr uint32_t kNoNode = Fields::kNoNode;
  static constexpr uint32_t kNoPath = ProfilePaths::kNone;
  // The profile itself: what is under it has paths of one key.
  static constexpr uint32_t kRootPath = UINT32_MAX - 1;

  // What stands where a scalar is meant.
  struct ScalarText {
    enum class Kind : uint8_t { kAbsent, kText, kNumber, kOther };
    Kind kind = Kind::kAbsent;
    // Of a number: as it is written.
    std::string_view text;
    double number = 0;
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
    static constexpr bool kOfProfile = true;

    uint32_t node = kNoNode;
    uint32_t path = kNoPath;

    bool used() const { return node != kNoNode || path != kNoPath; }
  };
  // The same where nothing can be the profile's, as most of what comes is: the walk is compiled
  // once more for it, without all that asks for a path. Where one is set the code asks kOfProfile.
  struct EventPlace {
    static constexpr bool kOfProfile = false;
    static constexpr uint32_t path = kNoPath;

    uint32_t node = kNoNode;

    bool used() const { return node != kNoNode; }
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
  template <typename P>
  struct List {
    P place;
    const Surroundings& around;
    P element;
    Surroundings elements;
  };

  // json_decoder.cc

  Result decode(std::string_view body_text, Body* body);
  // Each fails with what it says, and is false.
  bool fail(DecodeError error, std::string detail);
  bool malformed(simdjson::error_code error);
  bool too_deep();
  bool profile_too_large();
  // Text of a user's for a detail: short and printable.
  static std::string quote(std::string_view text);

  // Of both walks, and inline: they are called for each key.

  [[gnu::always_inline]] bool read_key(simdjson::ondemand::field& field, std::string_view* key) {
    if (plain) {
      // Between the key and its value are its quote, a colon and what is blank.
      const char* const begin = field.key().raw();
      const char* end = field.value().raw_json_token().data() - 1;
      while (*end != '"') --end;
      *key = {begin, static_cast<size_t>(end - begin)};
      return true;
    }
    const auto error = field.unescaped_key().get(*key);
    return error == simdjson::SUCCESS || malformed(error);
  }
  // Takes a string without escapes, the most common value; false of all else, which is left.
  [[gnu::always_inline]] bool take_plain(simdjson::ondemand::value& value,
                                         std::string_view* string) {
    const std::string_view token = value.raw_json_token();
    if (token[0] != '"' || !plain || value.get_raw_json_string().error()) return false;
    // The token reaches to the next one: behind the string's quote it is blank.
    size_t end = token.size() - 1;
    while (token[end] != '"') --end;
    *string = {token.data() + 1, end - 1};
    return true;
  }
  bool read_string(simdjson::ondemand::value& value, std::string_view* string) {
    if (take_plain(value, string)) return true;
    const auto error = value.get_string().get(*string);
    return error == simdjson::SUCCESS || malformed(error);
  }
  template <typename P>
  void leave(P at) {
    if (at.node != kNoNode) found.leave(at.node);
    if (at.path != kNoPath) commanded.leave(at.path);
  }

  // json_members.cc

  // One walk through the whole body.
  bool pass();
  bool member(std::string_view key, simdjson::ondemand::value& value);
  bool scalar_member(BodyScalar member, simdjson::ondemand::value& value);
  bool part_member(BodyPart part, simdjson::ondemand::value& value);
  bool context_members(simdjson::ondemand::object& object, EventPlace place,
                       const Surroundings& around);
  bool page_members(simdjson::ondemand::value& value, EventPlace place, const Surroundings& around);
  // As a property of the event, and for an identify call as the user's profile.
  bool traits_of_context(simdjson::ondemand::value& value, EventPlace place,
                         const Surroundings& around);

  // json_walk.cc; `P`: Place or EventPlace

  // A value with `depth` objects and lists around it. `scalar`: also takes it, if it is one.
  template <typename P>
  bool walk(simdjson::ondemand::value& value, P place, const Surroundings& around, int depth,
            Value* scalar = nullptr);
  template <typename P>
  bool walk_object(simdjson::ondemand::object& object, P place, const Surroundings& around,
                   int depth);
  // A list in a list counts as part of it.
  template <typename P>
  bool walk_list(simdjson::ondemand::array& list, List<P>* in, int depth);
  // CleverTap's `$…` on the profile property at `path`.
  bool command(ProfileOperation operation, simdjson::ondemand::value& value, uint32_t path,
               const Surroundings& around, int depth);
  // A value that nothing is wanted of.
  bool check(simdjson::ondemand::value& value, int depth);
  // Returned in registers: through memory, the copy that follows would wait for the writes.
  Value read_scalar(simdjson::ondemand::json_type type, simdjson::ondemand::value& value, bool* ok);
  bool read_number(simdjson::ondemand::value& value, double* out);
  // Goes from an object to what is under a key of it.
  template <typename P>
  bool enter(P in, const Surroundings& around, std::string_view key, P* at);
  uint32_t child(uint32_t node, std::string_view key) const;
  // The same of a key that is written as the path that it means.
  uint32_t child_by_path(uint32_t node, std::string_view key) const;
  // A missing value stands for null: no property, and the deletion of the profile's.
  template <typename P>
  void add(P at, const Surroundings& around, PropertyLog::Kind kind, Value value);

  // json_conclude.cc

  const ScalarText& scalar(BodyScalar member) const {
    static constexpr ScalarText kNothing;
    const auto index = static_cast<size_t>(member);
    return (scalars_seen >> index & 1) != 0 ? scalars[index] : kNothing;
  }
  // What was found, as a body.
  bool conclude(Body* body);
  // Strings, and numbers as they are written; empty when absent.
  bool scalar_text(BodyScalar member, size_t limit, std::string_view* out);
  bool user(BodyScalar known, BodyScalar anonymous, Body* body);
  bool event_name(BodyScalar member, Body* body);
  bool time(BodyScalar member, std::optional<Time>* out);
  // `timestamp`; without it `originalTimestamp`, corrected by what the sender's clock was off,
  // where that is told.
  bool segment_time(Body* body);
  // A property that the body holds elsewhere, unless `properties` has it.
  void add_missing(std::string_view name, const Value& value);

  simdjson::ondemand::parser parser;
  std::unique_ptr<char[]> text;
  size_t text_capacity = 0;

  const Fields* fields = nullptr;
  DecodeFailure* failure = nullptr;
  const char* text_begin = nullptr;
  size_t text_size = 0;
  // No string of the body has an escape: each is what stands between its quotes, and is not copied.
  bool plain = false;
  simdjson::ondemand::document document;

  // By BodyScalar; set where `scalars_seen` has the bit.
  std::array<ScalarText, kBodyScalars> scalars;
  uint32_t scalars_seen = 0;
  // Where a part's values are in its log.
  struct Range {
    uint32_t begin = 0;
    uint32_t end = 0;
    // Neither an object nor null.
    bool wrong_type = false;
    bool there = false;
  };
  std::array<Range, kBodyParts> parts;
  // Those of them that the body has, by bit.
  uint32_t parts_seen = 0;
  // Of context.page, for page calls.
  std::array<Value, 3> page;
  bool batch = false;
  bool event_message = false;

  // kUnknown until `type` has come.
  CallType call = CallType::kUnknown;
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
};

}  // namespace segmentd

// The decoder against records at random: hostile ones, which must all become an event or a dead
// letter, and well-formed ones, whose meaning is computed a second time by plain recursion over a
// tree.
#include <cmath>
#include <cstdlib>
#include <map>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "fmt/format.h"
#include "google/protobuf/stubs/logging.h"
#include "gtest/gtest.h"
#include "simdjson.h"

#include "proto/segments/v1/event.pb.h"
#include "stream/decoder.h"
#include "tests/unit/mutated_records.h"

namespace segmentd {
namespace {

constexpr int64_t kNow = 1'775'034'000'000;

// SEGMENTD_SEED repeats a run.
uint64_t Seed() {
  const char* given = std::getenv("SEGMENTD_SEED");
  const uint64_t seed = given != nullptr ? std::strtoull(given, nullptr, 10) : 20'260'401;
  fmt::print("SEGMENTD_SEED={}\n", seed);
  return seed;
}

class Random {
 public:
  explicit Random(uint64_t seed) : engine_(seed) {}
  size_t below(size_t n) { return static_cast<size_t>(engine_() % n); }
  bool one_in(size_t n) { return below(n) == 0; }
  template <typename T>
  const T& of(const std::vector<T>& items) {
    return items[below(items.size())];
  }
  uint64_t bits() { return engine_(); }

 private:
  std::mt19937_64 engine_;
};

std::string Show(const Value& value) {
  switch (value.type()) {
    case ValueType::kMissing:
      return "-";
    case ValueType::kString:
      EXPECT_TRUE(simdjson::validate_utf8(value.text().data(), value.text().size()));
      return fmt::format("'{}'", value.text());
    case ValueType::kNumber:
      EXPECT_TRUE(std::isfinite(value.number()));
      return fmt::format("{}", value.number());
    case ValueType::kBoolean:
      return value.boolean() ? "true" : "false";
    case ValueType::kList:
      break;
  }
  std::string items = "[";
  for (const Value& item : value.items()) {
    EXPECT_NE(item.type(), ValueType::kList);
    EXPECT_NE(item.type(), ValueType::kMissing);
    items += Show(item) + ",";
  }
  return items + "]";
}

// All of a verdict but the properties, which depend on the fields.
std::string Show(const DecodeResult& result, const Event& event, std::string_view user) {
  if (!result.ok()) return fmt::format("{}: {}", DecodeErrorCode(result.error), result.detail);
  std::string shown = fmt::format("{}|{}|{}|{}|{}", user, event.name, event.time.millis(),
                                  event.message_id, result.time_replaced);
  for (const ProfileCommand& c : event.profile) {
    shown += fmt::format("|{} {} {}", static_cast<int>(c.operation), c.property, Show(c.value));
  }
  return shown;
}

std::string ShowProperties(const Event& event, const Fields& fields) {
  std::map<std::string, std::string> properties;
  for (const EventProperty& p : event.properties) {
    EXPECT_TRUE(properties.emplace(fields.path(p.field), Show(p.value)).second)
        << "twice: " << fields.path(p.field);
  }
  std::string shown;
  for (const auto& [path, value] : properties) shown += fmt::format("{}={} ", path, value);
  return shown;
}

// What simdjson's other parser, which reads everything, says of a body.
enum class Json { kGood, kBad, kUnsure };
Json DomVerdict(simdjson::dom::parser& parser, std::string_view body) {
  if (body.starts_with("\xEF\xBB\xBF")) body.remove_prefix(3);
  simdjson::dom::element element;
  const auto error = parser.parse(body.data(), body.size()).get(element);
  if (error == simdjson::SUCCESS) return element.is_object() ? Json::kGood : Json::kBad;
  // Numbers too large are no fault of the JSON; and what comes first decides.
  return error == simdjson::NUMBER_ERROR || error == simdjson::DEPTH_ERROR ? Json::kUnsure
                                                                           : Json::kBad;
}

TEST(DecoderAtRandom, EveryRecordIsAnEventOrADeadLetter) {
  constexpr size_t kRecords = 1'000'000;
  const uint64_t seed = Seed();
  Random random(seed);
  Fields rich;
  for (const char* path : {"amount", "items[].sku", "items[].n", "cart.id", "tags", "x",
                           "context.page.url", "url", "name"})
    rich.add(path);
  const Fields none;

  Decoder decoder{Settings{}};
  Decoder other{Settings{}};
  simdjson::dom::parser dom;
  std::map<std::string, size_t> counts;
  MutatedRecords records(random.bits(), {"u"});
  for (size_t i = 0; i < kRecords; ++i) {
    const MutatedRecord mutated = records.next(Time::Millis(kNow));
    const std::string& body = mutated.body;
    const HeaderView header{"content-type", mutated.content_type};
    const Record record{.offset = Offset(static_cast<int64_t>(i)),
                        .record_time = Time::Millis(kNow),
                        .has_key = mutated.key.has_value(),
                        .key = mutated.key ? std::string_view(*mutated.key) : "",
                        .value = body,
                        .headers = {&header, header.value.empty() ? 0U : 1U}};
    SCOPED_TRACE(testing::Message() << "record " << i << " of SEGMENTD_SEED=" << seed << ": "
                                    << testing::PrintToString(body));

    Event event;
    std::string_view user;
    const DecodeResult result = decoder.decode(record, rich, &event, &user);
    const std::string shown = Show(result, event, user);
    if (result.ok()) {
      ASSERT_EQ(user, record.key);
      ASSERT_LE(event.time, record.record_time + Settings{}.max_future_skew);
      ASSERT_TRUE(simdjson::validate_utf8(event.name.data(), event.name.size()));
    } else {
      ASSERT_FALSE(result.detail.empty());
      ASSERT_TRUE(simdjson::validate_utf8(result.detail.data(), result.detail.size()));
      ASSERT_LE(result.detail.size(), 1000U);
    }
    ++counts[std::string(DecodeErrorCode(result.error))];

    // The definitions don't matter to whether a record is understood, nor the records before.
    Event bare;
    const DecodeResult without = other.decode(record, none, &bare, &user);
    ASSERT_EQ(Show(without, bare, user), shown);
    ASSERT_TRUE(!result.ok() || bare.properties.empty());
    if (random.one_in(100)) {
      const std::string properties = result.ok() ? ShowProperties(event, rich) : "";
      Decoder fresh{Settings{}};
      const DecodeResult again = fresh.decode(record, rich, &event, &user);
      ASSERT_EQ(Show(again, event, user), shown);
      ASSERT_EQ(again.ok() ? ShowProperties(event, rich) : "", properties);
    }
    if (record.has_key && header.value.empty() && random.one_in(4)) {
      const bool refused = result.error == DecodeError::kMalformedJson ||
                           result.error == DecodeError::kInvalidUtf8 ||
                           result.error == DecodeError::kEmptyBody;
      const bool stopped = result.error == DecodeError::kTooDeep ||
                           result.error == DecodeError::kBadNumber ||
                           result.error == DecodeError::kBadProfileCommand;
      switch (DomVerdict(dom, body)) {
        case Json::kGood:
          ASSERT_FALSE(refused) << shown;
          break;
        case Json::kBad:
          ASSERT_TRUE(refused || stopped) << shown;
          break;
        case Json::kUnsure:
          break;
      }
    }
  }

  size_t sum = 0;
  for (const auto& [code, count] : counts) {
    fmt::print("{:>9} {}\n", count, code.empty() ? "events" : code);
    sum += count;
  }
  EXPECT_EQ(sum, kRecords);
  EXPECT_GT(counts[""], kRecords / 10);
  EXPECT_GE(counts.size(), 15U);
}

// A JSON value with its keys in order, duplicates and all.
struct Tree {
  enum class Type { kNull, kScalar, kList, kObject };
  Type type = Type::kNull;
  // As JSON, and as Show() writes it.
  std::string json;
  std::string shown;
  // Of a list, and of an object, whose keys are beside them.
  std::vector<Tree> items;
  std::vector<std::string> keys;

  // The last of a name counts.
  const Tree* member(const std::string& name) const {
    const Tree* found = nullptr;
    for (size_t i = 0; i < keys.size(); ++i) {
      if (keys[i] == name) found = &items[i];
    }
    return found;
  }
};

Tree RandomTree(Random& random, int depth) {
  Tree tree;
  switch (random.below(depth > 0 ? 8 : 5)) {
    case 0:
      tree.json = "null";
      return tree;
    case 1:
      tree = {.type = Tree::Type::kScalar, .json = "true", .shown = "true"};
      return tree;
    case 2: {
      const auto number = static_cast<int>(random.below(100));
      tree = {.type = Tree::Type::kScalar,
              .json = fmt::format("{}.50e0", number),
              .shown = fmt::format("{}.5", number)};
      return tree;
    }
    case 3:
    case 4: {
      const auto letter = static_cast<char>('p' + random.below(4));
      tree = {.type = Tree::Type::kScalar,
              .json = random.one_in(2) ? fmt::format("\"{}\"", letter)
                                       : fmt::format("\"\\u00{:x}\"", static_cast<int>(letter)),
              .shown = fmt::format("'{}'", letter)};
      return tree;
    }
    case 5:
      tree.type = Tree::Type::kList;
      for (size_t n = random.below(4); n > 0; --n)
        tree.items.push_back(RandomTree(random, depth - 1));
      return tree;
    default:
      tree.type = Tree::Type::kObject;
      for (size_t n = random.below(5); n > 0; --n) {
        tree.keys.emplace_back(1, static_cast<char>('a' + random.below(3)));
        tree.items.push_back(RandomTree(random, depth - 1));
      }
      return tree;
  }
}

void Write(Random& random, const Tree& tree, std::string* out) {
  const auto blank = [&] {
    if (random.one_in(8)) *out += " \n\t"[random.below(3)];
  };
  blank();
  if (tree.type == Tree::Type::kList) {
    *out += '[';
    for (size_t i = 0; i < tree.items.size(); ++i) {
      if (i > 0) *out += ',';
      Write(random, tree.items[i], out);
    }
    *out += ']';
  } else if (tree.type == Tree::Type::kObject) {
    *out += '{';
    for (size_t i = 0; i < tree.keys.size(); ++i) {
      if (i > 0) *out += ',';
      blank();
      const std::string& key = tree.keys[i];
      *out += random.one_in(4) ? fmt::format("\"\\u00{:x}\"", static_cast<int>(key[0]))
                               : fmt::format("\"{}\"", key);
      blank();
      *out += ':';
      Write(random, tree.items[i], out);
    }
    *out += '}';
  } else {
    *out += tree.json;
  }
  blank();
}

// What a path leads to.
struct Found {
  std::vector<std::string> scalars;
  bool list = false;
  bool present = false;

  std::optional<std::string> shown() const {
    if (scalars.empty() && !present) return std::nullopt;
    if (!list && !present) return scalars.front();
    std::string shown = "[";
    for (const std::string& scalar : scalars) shown += scalar + ",";
    return shown + "]";
  }
};

void Scalars(const Tree& list, std::vector<std::string>* out) {
  for (const Tree& item : list.items) {
    if (item.type == Tree::Type::kScalar) out->push_back(item.shown);
    if (item.type == Tree::Type::kList) Scalars(item, out);
  }
}

struct Step {
  std::string key;
  bool elements;
};

void Follow(const Tree& tree, const std::vector<Step>& steps, size_t at, bool listed, Found* found);

void FollowElements(const Tree& list, const std::vector<Step>& steps, size_t at, Found* found) {
  for (const Tree& item : list.items) {
    if (item.type == Tree::Type::kList) FollowElements(item, steps, at, found);
    if (item.type == Tree::Type::kObject) Follow(item, steps, at, true, found);
  }
}

void Follow(const Tree& tree, const std::vector<Step>& steps, size_t at, bool listed,
            Found* found) {
  if (at == steps.size()) {
    if (tree.type == Tree::Type::kScalar) found->scalars.push_back(tree.shown);
    if (tree.type == Tree::Type::kList) Scalars(tree, &found->scalars);
    const bool container = tree.type == Tree::Type::kList || tree.type == Tree::Type::kObject;
    found->present |= container && !listed;
    found->list |= listed || tree.type == Tree::Type::kList;
    return;
  }
  if (tree.type != Tree::Type::kObject) return;
  const Tree* next = tree.member(steps[at].key);
  if (next == nullptr) return;
  if (!steps[at].elements) return Follow(*next, steps, at + 1, listed, found);
  if (next->type != Tree::Type::kList) return;
  found->list = true;
  if (at + 1 == steps.size()) {
    Scalars(*next, &found->scalars);
  } else {
    FollowElements(*next, steps, at + 1, found);
  }
}

// Path -> value of all that an object of traits sets; "-" deletes.
void Flatten(const Tree& object, const std::string& path, bool listed,
             std::map<std::string, Found>* out);

void FlattenElements(const Tree& list, const std::string& path, std::map<std::string, Found>* out) {
  for (const Tree& item : list.items) {
    if (item.type == Tree::Type::kList) FlattenElements(item, path, out);
    if (item.type == Tree::Type::kObject) Flatten(item, path + "[].", true, out);
  }
}

size_t Values(const std::map<std::string, Found>& found) {
  size_t values = 0;
  for (const auto& [path, f] : found) values += f.scalars.size() + (f.present ? 1 : 0);
  return values;
}

void Flatten(const Tree& object, const std::string& path, bool listed,
             std::map<std::string, Found>* out) {
  for (const char* key : {"a", "b", "c"}) {
    const Tree* tree = object.member(key);
    if (tree == nullptr) continue;
    const std::string name = path + key;
    switch (tree->type) {
      case Tree::Type::kNull:
        if (!listed) (*out)[name].scalars.emplace_back("-");
        break;
      case Tree::Type::kScalar:
        (*out)[name].scalars.push_back(tree->shown);
        (*out)[name].list |= listed;
        break;
      case Tree::Type::kObject:
        Flatten(*tree, name + ".", listed, out);
        break;
      case Tree::Type::kList: {
        const size_t before = Values(*out);
        Found here;
        Scalars(*tree, &here.scalars);
        if (!here.scalars.empty()) {
          Found& f = (*out)[name];
          f.list = true;
          f.scalars.insert(f.scalars.end(), here.scalars.begin(), here.scalars.end());
        }
        FlattenElements(*tree, name, out);
        if (!listed && Values(*out) == before) (*out)[name].present = true;
        break;
      }
    }
  }
}

TEST(DecoderAtRandom, AgreesWithAPlainWalkOverATree) {
  const uint64_t seed = Seed();
  Random random(seed);
  std::vector<std::vector<Step>> paths;
  Fields fields;
  while (paths.size() < 60) {
    std::vector<Step> steps;
    std::string path;
    for (size_t n = 1 + random.below(4); n > 0; --n) {
      steps.push_back({std::string(1, static_cast<char>('a' + random.below(3))), random.one_in(3)});
      path += (path.empty() ? "" : ".") + steps.back().key + (steps.back().elements ? "[]" : "");
    }
    if (fields.add(path) == paths.size()) paths.push_back(steps);
  }

  Decoder decoder{Settings{}};
  size_t with_values = 0;
  for (int i = 0; i < 30'000; ++i) {
    Tree tree;
    while (tree.type != Tree::Type::kObject) tree = RandomTree(random, 5);
    std::string object;
    Write(random, tree, &object);
    SCOPED_TRACE(testing::Message()
                 << "object " << i << " of SEGMENTD_SEED=" << seed << ": " << object);

    std::map<std::string, std::string> expected;
    for (size_t p = 0; p < paths.size(); ++p) {
      Found found;
      Follow(tree, paths[p], 0, false, &found);
      if (const auto shown = found.shown())
        expected[fields.path(static_cast<FieldIndex>(p))] = *shown;
    }
    Event event;
    std::string_view user;
    const std::string track =
        fmt::format(R"({{"type":"track","userId":"u","event":"E","properties":{}}})", object);
    ASSERT_TRUE(
        decoder.decode({.has_key = true, .key = "u", .value = track}, fields, &event, &user).ok());
    std::map<std::string, std::string> actual;
    for (const EventProperty& p : event.properties)
      ASSERT_TRUE(actual.emplace(fields.path(p.field), Show(p.value)).second);
    ASSERT_EQ(actual, expected);
    with_values += actual.empty() ? 0 : 1;

    std::map<std::string, Found> flat;
    Flatten(tree, "", false, &flat);
    expected.clear();
    for (const auto& [path, found] : flat) expected[path] = found.shown().value();
    const std::string identify =
        fmt::format(R"({{"type":"identify","userId":"u","traits":{}}})", object);
    ASSERT_TRUE(
        decoder.decode({.has_key = true, .key = "u", .value = identify}, fields, &event, &user)
            .ok());
    actual.clear();
    for (const ProfileCommand& c : event.profile) {
      ASSERT_EQ(c.operation,
                c.value.missing() ? ProfileOperation::kDelete : ProfileOperation::kSet);
      ASSERT_TRUE(actual.emplace(std::string(c.property), Show(c.value)).second) << c.property;
    }
    ASSERT_EQ(actual, expected);
  }
  EXPECT_GT(with_values, 10'000U);
}

// The bytes of a random message, mutated, against the generated parser.
TEST(DecoderAtRandom, AgreesWithTheGeneratedProtobufParser) {
  using segments::v1::PropertyValue;
  const uint64_t seed = Seed();
  Random random(seed);
  Fields fields;
  for (const char* path : {"a", "b", "c.d", "l[].x"}) fields.add(path);
  const std::vector<std::string> keys = {"a", "b", "c.d", "l[].x", "other", ""};
  const auto fill = [&](auto& self, PropertyValue* value, int depth) -> void {
    switch (random.below(depth > 0 ? 5 : 4)) {
      case 0:
        break;
      case 1:
        value->set_string(std::string(random.below(20), 's'));
        break;
      case 2:
        value->set_number(static_cast<double>(random.below(100)) / 4);
        break;
      case 3:
        value->set_boolean(random.one_in(2));
        break;
      case 4:
        value->mutable_list();
        for (size_t n = random.below(3); n > 0; --n)
          self(self, value->mutable_list()->add_values(), depth - 1);
        break;
    }
  };
  const auto scalars = [](auto& self, const PropertyValue& value, std::string* out) -> void {
    switch (value.kind_case()) {
      case PropertyValue::kString:
        *out += fmt::format("'{}',", value.string());
        break;
      case PropertyValue::kNumber:
        *out += fmt::format("{},", value.number());
        break;
      case PropertyValue::kBoolean:
        *out += value.boolean() ? "true," : "false,";
        break;
      case PropertyValue::kList:
        for (const PropertyValue& item : value.list().values()) self(self, item, out);
        break;
      case PropertyValue::KIND_NOT_SET:
        break;
    }
  };
  const auto finite = [](auto& self, const PropertyValue& value) -> bool {
    for (const PropertyValue& item : value.list().values()) {
      if (!self(self, item)) return false;
    }
    return std::isfinite(value.number());
  };

  const google::protobuf::LogSilencer silencer;
  Decoder decoder{Settings{}};
  size_t understood = 0;
  size_t refused = 0;
  for (int i = 0; i < 200'000; ++i) {
    segments::v1::Event message;
    message.set_user_id("u");
    message.set_name("E");
    if (random.one_in(2)) message.set_message_id("m");
    if (random.one_in(2)) message.set_time_ms(kNow);
    for (size_t n = random.below(4); n > 0; --n)
      fill(fill, &(*message.mutable_properties())[random.of(keys)], 2);
    std::string bytes = Serialized(message);
    // A message behind another is merged into it.
    if (random.one_in(4)) bytes += bytes;
    if (random.one_in(2)) {
      for (size_t n = 1 + random.below(3); n > 0; --n) {
        const size_t at = random.below(bytes.size());
        if (random.one_in(4)) {
          bytes.insert(at, 1, static_cast<char>(random.below(40)));
        } else {
          bytes[at] = static_cast<char>(random.one_in(2) ? random.bits() : random.below(64));
        }
      }
    }
    SCOPED_TRACE(testing::Message() << "message " << i << " of SEGMENTD_SEED=" << seed << ": "
                                    << testing::PrintToString(bytes));
    segments::v1::Event parsed;
    const bool good = parsed.ParseFromString(bytes);
    const HeaderView header{"content-type", "application/x-protobuf"};
    Event event;
    std::string_view user;
    const DecodeResult result = decoder.decode({.record_time = Time::Millis(kNow),
                                                .has_key = true,
                                                .key = "u",
                                                .value = bytes,
                                                .headers = {&header, 1}},
                                               fields, &event, &user);
    if (!good) {
      ASSERT_FALSE(result.ok());
      ++refused;
      continue;
    }
    ASSERT_NE(result.error, DecodeError::kMalformedProtobuf);
    ASSERT_NE(result.error, DecodeError::kInvalidUtf8);
    if (result.error == DecodeError::kBadNumber) {
      bool all_finite = true;
      for (const auto& [key, value] : parsed.properties()) all_finite &= finite(finite, value);
      // Of a number that was overwritten in a repeated list nothing is left to see.
      ASSERT_TRUE(!all_finite || bytes.size() > message.ByteSizeLong());
      continue;
    }
    if (!result.ok()) continue;
    ++understood;
    ASSERT_EQ(event.name, parsed.name());
    ASSERT_EQ(event.message_id, parsed.message_id());
    std::map<std::string, std::string> expected;
    for (const auto& [key, value] : parsed.properties()) {
      const uint32_t node = fields.find(0, key);
      if (node == Fields::kNoNode || fields.node(node).field == Fields::kNone) continue;
      std::string shown;
      scalars(scalars, value, &shown);
      if (value.has_list()) {
        expected[key] = "[" + shown + "]";
      } else if (!shown.empty()) {
        shown.pop_back();
        expected[key] = shown;
      }
    }
    std::map<std::string, std::string> actual;
    for (const EventProperty& p : event.properties) actual[fields.path(p.field)] = Show(p.value);
    ASSERT_EQ(actual, expected);
  }
  EXPECT_GT(understood, 100'000U);
  EXPECT_GT(refused, 10'000U);
}

}  // namespace
}  // namespace segmentd

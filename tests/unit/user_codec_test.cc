#include "state/user_codec.h"

#include <rapidcheck.h>

#include <algorithm>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "rapidcheck/gtest.h"

#include "tests/unit/golden_bytes.h"
#include "tests/unit/user_state_equality.h"

namespace segmentd {
namespace {

using testing::HasSubstr;

std::string Image(const UserState& user, Offset included) {
  std::string image;
  AppendUserImage(user, included, &image);
  return image;
}

// Null when the image of `user` reads back as the same.
const char* RoundTrip(const UserState& user, Offset included) {
  const std::string image = Image(user, included);
  UserState read;
  Offset read_included;
  if (!ParseUserImage(image, &read, &read_included).ok()) return "the image can't be read";
  if (read_included != included) return "included";
  if (const char* difference = Difference(user, read)) return difference;
  return Image(read, read_included) == image ? nullptr : "the second image";
}

constexpr int64_t kNow = 1'790'000'000'000;
Time At(int64_t ms) {
  return Time::Millis(kNow + ms);
}
EventOrder Order(int64_t ms, int64_t offset) {
  return {At(ms), Offset(offset)};
}

Fact InTime(EventOrder order, uint64_t atom, uint64_t value) {
  return {.order = order, .atom = atom, .value = value, .at = order.time};
}

// What format 1 can hold of it is in the golden files of format 1.
UserState Typical() {
  UserState user;
  user.newest_event = At(0);
  user.exists_since = At(-86'400'000);
  user.now = At(0);
  user.decided = At(-60'000);
  user.next_deadline = At(600'000);
  user.facts = {InTime(Order(-2000, 81'000), 0x1122334455667788, 0),
                InTime(Order(0, 81'734), 0x99aabbccddeeff00, 0),
                InTime(Order(0, 81'734), 0x0102030405060708, 0xa5)};
  user.present.facts_applied = 3;
  user.present.exists = true;
  user.seen = {{0x1111111111111111, At(-2000)}, {0x2222222222222222, At(10)}, {3, At(12)}};
  user.present.segments = {
      {.slot = 3, .version = 1, .member = true, .since = At(-2000), .cause_at = At(-2000)},
      {.slot = 7,
       .version = 2,
       .memory = Memory{.occurrences = {{.value = 0, .at = At(0), .due = At(600'000)}}}},
      {.slot = 300,
       .version = 1,
       .member = true,
       .since = At(-60'000),
       .cause_at = At(-60'000),
       .exit_at = At(86'340'000)}};
  return user;
}

OwnedValue List(const std::vector<Value>& items) {
  return OwnedValue(Value::List(items));
}

// Every field of format 1 differs from a new user's, and present differs from base in every way.
UserState FullOfFormat1() {
  UserState user = Typical();
  auto property = [](std::string name, OwnedValue value) {
    return Profile::Property{.name = std::move(name),
                             .value = std::move(value),
                             .newest_absolute = Order(-9'000'000, 5),
                             .newest = Order(-8'000'000, 6)};
  };
  std::vector<Profile::Property> properties = {
      property("age", OwnedValue(Value::Number(30.5))),
      property("city", OwnedValue(Value::String("Pune"))),
      property("gone", OwnedValue()),
      property("name", OwnedValue(Value::String("Ünal"))),
      property("tags", List({Value::String("a"), Value::Number(-1), Value::Boolean(true)})),
      property("vip", OwnedValue(Value::Boolean(false)))};
  user.base = std::make_unique<Base>();
  user.base->until = At(-7'200'000);
  user.base->exists = true;
  user.base->profile = Profile::Restore(properties);
  user.base->segments = {
      user.present.segments[0],
      {.slot = 5, .version = 1, .member = true},
      {.slot = 300, .version = 1, .count = 2, .memory = Memory{.session_at = At(-7'300'000)}}};
  properties[1].value = OwnedValue(Value::String("Delhi"));
  properties.erase(properties.begin() + 3);
  properties.push_back(property("visits", OwnedValue(Value::Number(3))));
  user.present.profile = Profile::Restore(properties);
  user.present.writes_applied = 1;
  user.present.segments.put(
      {.slot = 4'000'000'000,
       .version = 2'147'483'647,
       .member = true,
       .trigger = 9,
       .count = 1000,
       .since = At(1),
       .cause_at = At(2),
       .exit_at = At(3),
       .memory = Memory{
           .occurrences = {{.value = 1, .at = At(5), .due = At(6)}, {.value = 2, .at = At(7)}},
           .session_at = At(4),
           .joined_value = 77}});
  user.writes = {{.order = Order(-100, 81'700),
                  .effective = At(-100),
                  .operation = ProfileOperation::kSet,
                  .property = "city",
                  .value = OwnedValue(Value::String("Delhi"))},
                 {.order = Order(-9'000'000, 81'800),
                  .effective = At(0),
                  .operation = ProfileOperation::kAdd,
                  .property = "tags",
                  .value = List({Value::String("b")})}};
  return user;
}

// The same with what format 2 can hold besides.
UserState FullOfFormat2() {
  UserState user = FullOfFormat1();
  user.exists_offset = Offset(77'000);
  user.facts.push_back({.order = Order(20, 81'790),
                        .atom = 0x2222222222222222,
                        .value = 0x4044000000000000,
                        .at = At(-9'000'000)});
  user.facts.push_back(
      {.order = Order(30, 81'791), .atom = 0x3333333333333333, .at = At(-9'000'001)});
  user.base->exists = false;
  MeasureState sliding;
  sliding.samples = {{At(-80'000'000), 12.5, 3}, {At(-70'000'000)}, {At(-70'000'000), -1, 1}};
  MeasureState calendar{.samples = {{At(-126'400'000), 0.25, 1}, {At(-40'000'000), 30, 2}}};
  MeasureState ever{.samples = {{Time(), 0, 1'000'000}}};
  MeasureState first{.samples = {{At(-9'500'000)}}};
  user.base->segments.put(
      {.slot = 9, .version = 4, .memory = Memory{.measures = {sliding, {}, calendar}}});
  user.present.segments.put(
      {.slot = 8, .version = 1, .built = false, .memory = Memory{.measures = {ever}}});
  sliding.samples.erase(sliding.samples.begin());
  calendar.samples.erase(calendar.samples.begin());
  user.present.segments.put({.slot = 9,
                             .version = 4,
                             .member = true,
                             .since = At(-70'000'000),
                             .exit_at = At(16'400'000),
                             .memory = Memory{.measures = {sliding, first, calendar}}});
  return user;
}

// And with what format 3 can.
UserState FullOfFormat3() {
  UserState user = FullOfFormat2();
  user.base->settled = {Offset(81'750), At(-3'600'000)};
  user.present.segments.put(
      {.slot = 10,
       .version = 2,
       .memory = Memory{.occurrences = {{.at = At(-5), .due = At(50'000)}}, .read_value = 78}});
  user.present.segments.put({.slot = 11, .version = 1, .memory = Memory{.measures = {{}}}});
  return user;
}

// Format 4 knows which records they were.
UserState WithOffsets(UserState user) {
  int64_t offset = 80'990;
  for (SeenMessage& seen : user.seen) seen.offset = Offset(offset += 7);
  return user;
}
// And which users consumers know of, amid a pause.
UserState FullOfFormat4() {
  UserState user = WithOffsets(FullOfFormat3());
  user.present.segments.put(
      {.slot = 12, .version = 3, .member = true, .built = false, .told = true});
  return user;
}
// And what a history has of times that a late trigger may precede.
UserState FullOfFormat5() {
  UserState user = FullOfFormat4();
  Memory memory{.measures = {{}, {}}};
  memory.ahead = std::vector<Addition>{{.from = At(-9'000), .at = At(-9'000), .value = 2.5},
                                       {.from = At(-8'000), .at = At(-12'000), .measure = 1}};
  user.base->segments.put({.slot = 13, .version = 1, .memory = std::move(memory)});
  return user;
}
// And for which change it was settled.
UserState Full() {
  UserState user = FullOfFormat5();
  user.base->settled.change_number = 300;
  return user;
}

// Before format 3 one number was the `match` value joined by, or the date's value that was read.
UserState WithOneValue(UserState user) {
  for (SegmentState& segment : user.present.segments) {
    if (segment.memory->joined_value == 0) continue;
    segment.memory.open().read_value = segment.memory->joined_value;
  }
  return user;
}

TEST(UserCodec, RoundTrip) {
  EXPECT_EQ(RoundTrip(UserState(), Offset(0)), nullptr);
  EXPECT_EQ(RoundTrip(Typical(), Offset(81'735)), nullptr);
  EXPECT_EQ(RoundTrip(Full(), Offset(81'801)), nullptr);
}

TEST(UserCodec, ExtremesRoundTrip) {
  constexpr int64_t kLeast = std::numeric_limits<int64_t>::min();
  constexpr int64_t kMost = std::numeric_limits<int64_t>::max();
  const std::vector<int64_t> moments = {kLeast, kLeast + 1, kLeast + 2, -1,        0,
                                        1,      kNow,       kMost - 2,  kMost - 1, kMost};
  for (int64_t a : moments) {
    for (int64_t b : moments) {
      UserState user;
      user.newest_event = Time::Millis(a);
      user.exists_since = Time::Millis(b);
      const Time early = Time::Millis(std::min(a, b));
      const Time late = Time::Millis(std::max(a, b));
      user.facts = {{.order = {early, Offset(a)}, .atom = 1, .at = late},
                    {.order = {late, Offset(b)}, .atom = 1, .at = early}};
      if (a == b) user.facts.pop_back();
      user.exists_offset = Offset(a);
      MeasureState measure;
      measure.samples = {{early, 0, kMost}, {late, 1, 1}};
      user.present.segments = {
          {.memory = Memory{.measures = {measure},
                            .occurrences = {{.at = Time::Millis(a), .due = Time::Millis(b)}}}}};
      user.seen = {{1, Time::Millis(a), Offset(b)}, {2, Time::Millis(b), Offset(a)}};
      if (!std::is_sorted(user.facts.begin(), user.facts.end(),
                          [](const Fact& x, const Fact& y) { return x.order < y.order; })) {
        continue;
      }
      EXPECT_EQ(RoundTrip(user, Offset(b)), nullptr) << a << " " << b;
    }
  }
}

TEST(UserCodec, AppendsToWhatIsThere) {
  std::string out = "before";
  AppendUserImage(Typical(), Offset(1), &out);
  EXPECT_EQ(out, "before" + Image(Typical(), Offset(1)));
}

TEST(UserCodec, ATypicalImageIsSmall) {
  EXPECT_LT(Image(WithOffsets(Typical()), Offset(81'735)).size(), 145u);

  // What base and present have in common is there once.
  UserState user = Typical();
  const size_t without_base = Image(user, Offset(1)).size();
  user.base = std::make_unique<Base>(Base{user.present});
  EXPECT_LT(Image(user, Offset(1)).size(), without_base + 10);
}

void ExpectReads(const std::string& image, const UserState& user, Offset included) {
  UserState read;
  Offset read_included;
  const absl::Status status = ParseUserImage(image, &read, &read_included);
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_STREQ(Difference(user, read), nullptr);
  EXPECT_EQ(read_included, included);
}

// Stored images must stay readable.
void ExpectGolden(const std::string& name, const UserState& user, Offset included) {
  const std::string golden = ReadGolden(name);
  EXPECT_EQ(absl::BytesToHexString(golden), absl::BytesToHexString(Image(user, included)));
  ExpectReads(golden, user, included);
}

TEST(UserCodec, GoldenNewUser) {
  ExpectGolden("user_image_6_new.hex", UserState(), Offset(0));
}
TEST(UserCodec, GoldenTypicalUser) {
  ExpectGolden("user_image_6_typical.hex", WithOffsets(Typical()), Offset(81'735));
}
TEST(UserCodec, GoldenFullUser) {
  ExpectGolden("user_image_6_full.hex", Full(), Offset(81'801));
}

// Format 1 knew neither facts that lie ahead nor users who do not exist yet.
TEST(UserCodec, Format1StaysReadable) {
  UserState fresh;
  fresh.present.exists = true;
  ExpectReads(ReadGolden("user_image_1_new.hex"), fresh, Offset(0));
  ExpectReads(ReadGolden("user_image_1_typical.hex"), Typical(), Offset(81'735));
  ExpectReads(ReadGolden("user_image_1_full.hex"), WithOneValue(FullOfFormat1()), Offset(81'801));
}
TEST(UserCodec, Format2StaysReadable) {
  ExpectReads(ReadGolden("user_image_2_new.hex"), UserState(), Offset(0));
  ExpectReads(ReadGolden("user_image_2_typical.hex"), Typical(), Offset(81'735));
  ExpectReads(ReadGolden("user_image_2_full.hex"), WithOneValue(FullOfFormat2()), Offset(81'801));
}

TEST(UserCodec, Format3StaysReadable) {
  ExpectReads(ReadGolden("user_image_3_new.hex"), UserState(), Offset(0));
  ExpectReads(ReadGolden("user_image_3_typical.hex"), Typical(), Offset(81'735));
  ExpectReads(ReadGolden("user_image_3_full.hex"), FullOfFormat3(), Offset(81'801));
}

TEST(UserCodec, Format4StaysReadable) {
  ExpectReads(ReadGolden("user_image_4_new.hex"), UserState(), Offset(0));
  ExpectReads(ReadGolden("user_image_4_typical.hex"), WithOffsets(Typical()), Offset(81'735));
  ExpectReads(ReadGolden("user_image_4_full.hex"), FullOfFormat4(), Offset(81'801));
}

TEST(UserCodec, Format5StaysReadable) {
  ExpectReads(ReadGolden("user_image_5_new.hex"), UserState(), Offset(0));
  ExpectReads(ReadGolden("user_image_5_typical.hex"), WithOffsets(Typical()), Offset(81'735));
  ExpectReads(ReadGolden("user_image_5_full.hex"), FullOfFormat5(), Offset(81'801));
}

TEST(UserCodec, EveryCutIsAnError) {
  for (const UserState& user : {Typical(), Full()}) {
    const std::string image = Image(user, Offset(81'735));
    for (size_t size = 0; size < image.size(); ++size) {
      UserState read;
      Offset included;
      // A copy of its own, so that a sanitizer sees a read past its end.
      const std::vector<char> cut(image.begin(), image.begin() + static_cast<std::ptrdiff_t>(size));
      const absl::Status status =
          ParseUserImage(std::string_view(cut.data(), cut.size()), &read, &included);
      EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << size;
    }
  }
}

absl::Status ParseStatus(std::string_view image) {
  UserState read;
  Offset included;
  return ParseUserImage(image, &read, &included);
}

TEST(UserCodec, ErrorsSayWhatAndWhere) {
  std::string image = Image(Typical(), Offset(1));
  EXPECT_THAT(std::string(ParseStatus(image + "x").message()), HasSubstr("bytes left over"));
  for (const char format : {char{0}, char{7}}) {
    image[0] = format;
    const absl::Status unknown = ParseStatus(image);
    EXPECT_EQ(unknown.code(), absl::StatusCode::kUnimplemented);
    EXPECT_THAT(std::string(unknown.message()), HasSubstr(absl::StrCat("format ", format + 0)));
  }
  EXPECT_THAT(std::string(ParseStatus("").message()), HasSubstr("of 0 bytes: cut off at byte 0"));
}

TEST(UserCodec, BrokenOrdersAreErrors) {
  UserState user = Typical();
  std::swap(user.facts[0], user.facts[2]);
  EXPECT_THAT(std::string(ParseStatus(Image(user, Offset(1))).message()),
              HasSubstr("facts out of order"));
  user = Typical();
  std::swap(user.present.segments[0], user.present.segments[1]);
  EXPECT_THAT(std::string(ParseStatus(Image(user, Offset(1))).message()),
              HasSubstr("sequence out of order"));
  user = Full();
  std::swap(user.writes[0], user.writes[1]);
  EXPECT_THAT(std::string(ParseStatus(Image(user, Offset(1))).message()),
              HasSubstr("profile writes out of order"));
  user = Full();
  user.present.writes_applied = 3;
  EXPECT_THAT(std::string(ParseStatus(Image(user, Offset(1))).message()),
              HasSubstr("more profile writes applied"));
  user = Full();
  user.present.facts_applied = 6;
  EXPECT_THAT(std::string(ParseStatus(Image(user, Offset(1))).message()),
              HasSubstr("more facts applied"));
  user = Full();
  std::swap(user.present.segments[3].memory.open().measures[0].samples[0].at, user.now);
  EXPECT_THAT(std::string(ParseStatus(Image(user, Offset(1))).message()),
              HasSubstr("samples out of order"));
  user = Full();
  user.present.segments[3].memory.open().measures[0].samples[1].sum =
      std::numeric_limits<double>::quiet_NaN();
  EXPECT_THAT(std::string(ParseStatus(Image(user, Offset(1))).message()),
              HasSubstr("a number that is none"));
  user = Full();
  user.present.segments[3].memory.open().measures.resize(401);
  EXPECT_THAT(std::string(ParseStatus(Image(user, Offset(1))).message()),
              HasSubstr("more measures than a definition has"));
  const auto ahead = [&user]() -> std::vector<Addition>& {
    user = Full();
    return user.base->segments.find(13)->memory.open().ahead.open();
  };
  ahead()[1].measure = 2;
  EXPECT_THAT(std::string(ParseStatus(Image(user, Offset(1))).message()),
              HasSubstr("an event of a measure that is not there"));
  std::vector<Addition>& events = ahead();
  std::swap(events[0], events[1]);
  EXPECT_THAT(std::string(ParseStatus(Image(user, Offset(1))).message()),
              HasSubstr("events of a history out of order"));
  user = Typical();
  user.seen[1].id = 0;
  EXPECT_THAT(std::string(ParseStatus(Image(user, Offset(1))).message()),
              HasSubstr("message ID 0"));
}

TEST(UserCodec, AHugeCountAllocatesNothing) {
  // A new user's image up to the number of facts, and then 2^63 of them.
  const std::string huge = "\xff\xff\xff\xff\xff\xff\xff\xff\x7f";
  std::string image = Image(UserState(), Offset(0)).substr(0, 10) + huge;
  EXPECT_THAT(std::string(ParseStatus(image).message()), HasSubstr("list longer than the image"));

  // An image that ends in a measure's list of one sample.
  UserState user;
  user.newest_event = At(0);
  user.present.segments = {{.memory = Memory{.measures = {{.samples = {{At(0)}}}}}}};
  image = Image(user, Offset(0));
  ASSERT_THAT(image, testing::EndsWith(std::string("\1\0\3", 3)));
  image = image.substr(0, image.size() - 3) + huge;
  EXPECT_THAT(std::string(ParseStatus(image).message()), HasSubstr("list longer than the image"));
}

// Any state that UserState allows, small numbers often, extreme ones sometimes.
class AnyUser {
 public:
  explicit AnyUser(uint64_t seed) : random_(seed) {}

  UserState operator()() {
    UserState user;
    user.newest_event = time();
    user.exists_since = time();
    user.now = time();
    user.decided = time();
    user.next_deadline = time();
    user.exists_offset = offset();
    for (int i = below(5); i > 0; --i) user.facts.push_back(fact());
    if (!user.facts.empty() && below(2) == 0) user.facts.push_back(user.facts.back());
    std::sort(user.facts.begin(), user.facts.end(),
              [](const Fact& a, const Fact& b) { return a.order < b.order; });
    for (int i = below(4); i > 0; --i) {
      user.writes.push_back({order(), time(), static_cast<ProfileOperation>(1 + below(6)), text(),
                             OwnedValue(value(2))});
    }
    std::sort(
        user.writes.begin(), user.writes.end(), [](const ProfileWrite& a, const ProfileWrite& b) {
          return std::tie(a.effective, a.order.offset) < std::tie(b.effective, b.order.offset);
        });
    for (int i = below(4); i > 0; --i)
      user.seen.push_back({number() | 1, time(), Offset(static_cast<int64_t>(number()))});
    user.present = fold(user);
    if (below(2) == 0) {
      user.base = std::make_unique<Base>(Base{fold(user), time()});
      if (below(2) == 0) user.base->settled = {offset(), time(), number()};
      if (below(2) == 0) {
        // The present mostly has much of the base.
        user.present = static_cast<const FoldState&>(*user.base);
        auto& segments = user.present.segments;
        if (!segments.empty()) segments[number() % segments.size()].count += 1;
        if (!segments.empty() && below(2) == 0) {
          segments.erase(segments[number() % segments.size()].slot);
        }
        auto properties = user.present.profile.properties();
        if (!properties.empty()) properties[number() % properties.size()].newest = order();
        if (!properties.empty() && below(2) == 0) {
          properties.erase(properties.begin() + below(static_cast<int>(properties.size())));
        }
        user.present.profile = Profile::Restore(properties);
      }
    }
    return user;
  }

  Offset offset() { return Offset(static_cast<int64_t>(number())); }

 private:
  int below(int n) { return static_cast<int>(random_() % static_cast<uint64_t>(n)); }
  uint64_t number() {
    switch (below(4)) {
      case 0:
        return 0;
      case 1:
        return random_() % 300;
      case 2:
        return random_() >> below(64);
      default:
        return random_();
    }
  }
  Time time() {
    switch (below(6)) {
      case 0:
        return Time::Min();
      case 1:
        return Time::Max();
      case 2:
        return Time::Millis(static_cast<int64_t>(number()));
      default:
        return At(below(20'000'000) - 10'000'000);
    }
  }
  EventOrder order() { return {time(), below(2) == 0 ? Offset(below(1000)) : offset()}; }
  std::string text() {
    std::string text(number() % 20, 'a');
    for (char& c : text) c = static_cast<char>(random_());
    return text;
  }
  Value value(int depth) {
    switch (below(depth > 1 ? 5 : 3)) {
      case 0:
        texts_.push_back(std::make_unique<std::string>(text()));
        return Value::String(*texts_.back());
      case 1:
        return Value::Number(real());
      case 2:
        return Value::Boolean(below(2) == 0);
      case 3:
        return Value();
      default: {
        auto items = std::make_unique<std::vector<Value>>();
        for (int i = below(4); i > 0; --i) items->push_back(value(1));
        lists_.push_back(std::move(items));
        return Value::List(*lists_.back());
      }
    }
  }
  Fact fact() {
    Fact fact = InTime(order(), number(), number());
    if (below(4) == 0) fact.at = time();
    return fact;
  }
  double real() { return static_cast<double>(static_cast<int64_t>(number())) / 3; }
  MeasureState measure() {
    MeasureState m;
    for (int i = below(5); i > 0; --i) {
      m.samples.push_back({time(), below(2) == 0 ? 0 : real(), 1 + below(3)});
    }
    std::sort(m.samples.begin(), m.samples.end(),
              [](const Sample& a, const Sample& b) { return a.at < b.at; });
    return m;
  }
  FoldState fold(const UserState& user) {
    FoldState fold;
    fold.writes_applied = static_cast<uint32_t>(number() % (user.writes.size() + 1));
    fold.facts_applied = static_cast<uint32_t>(number() % (user.facts.size() + 1));
    fold.exists = below(2) == 0;
    std::vector<Profile::Property> properties;
    for (int i = below(6); i > 0; --i) {
      properties.push_back({text(), OwnedValue(value(2)), order(), order()});
    }
    std::sort(properties.begin(), properties.end(),
              [](const auto& a, const auto& b) { return a.name < b.name; });
    properties.erase(std::unique(properties.begin(), properties.end(),
                                 [](const auto& a, const auto& b) { return a.name == b.name; }),
                     properties.end());
    fold.profile = Profile::Restore(std::move(properties));
    for (int i = below(6); i > 0; --i) fold.segments.put(segment());
    return fold;
  }
  SegmentState segment() {
    SegmentState s;
    s.slot = static_cast<Slot>(number());
    s.version = static_cast<int32_t>(number());
    s.member = below(2) == 0;
    s.trigger = static_cast<uint8_t>(number());
    s.count = static_cast<uint32_t>(number());
    s.since = time();
    s.cause_at = time();
    s.exit_at = time();
    if (below(2) == 0) s.memory.open().session_at = time();
    if (below(2) == 0) s.memory.open().joined_value = number();
    if (below(2) == 0) s.memory.open().read_value = number();
    s.built = below(4) != 0;
    for (int i = below(4); i > 0; --i) s.memory.open().measures.push_back(measure());
    if (!s.memory->measures.empty() && below(3) == 0) {
      std::vector<Addition>& ahead = s.memory.open().ahead.open();
      for (int i = below(3); i > 0; --i) {
        ahead.push_back(
            {time(), time(), static_cast<double>(below(9)) / 4,
             static_cast<uint32_t>(below(static_cast<int>(s.memory->measures.size())))});
      }
      std::sort(ahead.begin(), ahead.end(),
                [](const Addition& a, const Addition& b) { return a.from < b.from; });
    }
    for (int i = below(4); i > 0; --i)
      s.memory.open().occurrences.push_back({number(), time(), time()});
    return s;
  }

  std::mt19937_64 random_;
  std::vector<std::unique_ptr<std::string>> texts_;
  std::vector<std::unique_ptr<std::vector<Value>>> lists_;
};

RC_GTEST_PROP(UserCodec, AnyStateRoundTrips, (uint64_t seed)) {
  AnyUser any(seed);
  for (int i = 0; i < 20; ++i) {
    const UserState user = any();
    const char* difference = RoundTrip(user, any.offset());
    if (difference != nullptr) RC_FAIL(std::string(difference));
  }
}

// Whatever is read after bytes were changed can be written and read again.
RC_GTEST_PROP(UserCodec, DamagedImagesAreSafe, (uint64_t seed)) {
  std::mt19937_64 random(seed);
  AnyUser any(seed);
  std::string image = Image(any(), any.offset());
  for (uint64_t changes = 1 + random() % 3; changes > 0; --changes) {
    image[random() % image.size()] = static_cast<char>(random());
  }
  UserState user;
  Offset included;
  if (!ParseUserImage(image, &user, &included).ok()) return;
  const char* difference = RoundTrip(user, included);
  if (difference != nullptr) RC_FAIL(std::string(difference));
}

}  // namespace
}  // namespace segmentd

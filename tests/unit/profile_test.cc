#include "segment/profile.h"

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "segment/settings.h"

namespace segmentd {
namespace {

EventOrder At(int64_t ms, int64_t offset = 0) {
  return {Time::Millis(ms), Offset(offset)};
}

ProfileWrite Write(EventOrder order, ProfileOperation operation, std::string property,
                   const Value& value = Value()) {
  return {.order = order,
          .effective = order.time,
          .operation = operation,
          .property = std::move(property),
          .value = OwnedValue(value)};
}

OwnedValue Text(std::string_view text) {
  return OwnedValue(Value::String(text));
}
OwnedValue Number(double number) {
  return OwnedValue(Value::Number(number));
}
OwnedValue List(const std::vector<Value>& items) {
  return OwnedValue(Value::List(items));
}

OwnedValue Find(const Profile& profile, std::string_view property) {
  std::vector<Value> scratch;
  return OwnedValue(profile.find(property, &scratch));
}

constexpr auto kSet = ProfileOperation::kSet;
constexpr auto kDelete = ProfileOperation::kDelete;
constexpr auto kAdd = ProfileOperation::kAdd;
constexpr auto kRemove = ProfileOperation::kRemove;
constexpr auto kIncrement = ProfileOperation::kIncrement;
constexpr auto kDecrement = ProfileOperation::kDecrement;

TEST(OwnedValue, KeepsEveryType) {
  const std::vector<Value> items = {Value::String("a"), Value::Number(2), Value::Boolean(true)};
  for (const Value& value :
       {Value(), Value::String("text"), Value::Number(-1.5), Value::Boolean(true),
        Value::Boolean(false), Value::List(items), Value::List({})}) {
    std::vector<Value> scratch;
    const OwnedValue owned(value);
    EXPECT_EQ(owned.type(), value.type());
    EXPECT_EQ(OwnedValue(owned.view(&scratch)), owned);
  }
  std::vector<Value> scratch;
  const OwnedValue owned(Value::List(items));
  const Value view = owned.view(&scratch);
  ASSERT_EQ(view.items().size(), 3u);
  EXPECT_EQ(view.items()[0].text(), "a");
  EXPECT_EQ(view.items()[1].number(), 2);
  EXPECT_TRUE(view.items()[2].boolean());
  EXPECT_FALSE(Text("1") == Number(1));
  EXPECT_FALSE(OwnedValue(Value::Boolean(false)) == OwnedValue());
}

TEST(Profile, SetReplacesAndDeleteTakesAway) {
  Profile profile;
  EXPECT_TRUE(Find(profile, "city").type() == ValueType::kMissing);
  EXPECT_TRUE(profile.apply(Write(At(1), kSet, "city", Value::String("Pune"))));
  EXPECT_TRUE(profile.apply(Write(At(2), kSet, "age", Value::Number(30))));
  EXPECT_TRUE(profile.apply(Write(At(3), kSet, "city", Value::String("Delhi"))));
  EXPECT_EQ(Find(profile, "city"), Text("Delhi"));
  EXPECT_EQ(Find(profile, "age"), Number(30));
  EXPECT_TRUE(profile.apply(Write(At(4), kDelete, "city")));
  EXPECT_EQ(Find(profile, "city"), OwnedValue());
  EXPECT_EQ(Find(profile, "age"), Number(30));
}

TEST(Profile, AddKeepsEachValueOnce) {
  Profile profile;
  profile.apply(Write(At(1), kAdd, "tags", Value::String("a")));
  EXPECT_EQ(Find(profile, "tags"), List({Value::String("a")}));
  profile.apply(Write(At(2), kAdd, "tags", Value::String("b")));
  profile.apply(Write(At(3), kAdd, "tags", Value::String("a")));
  EXPECT_EQ(Find(profile, "tags"), List({Value::String("a"), Value::String("b")}));
  const std::vector<Value> more = {Value::String("b"), Value::Number(1), Value::Number(1)};
  profile.apply(Write(At(4), kAdd, "tags", Value::List(more)));
  EXPECT_EQ(Find(profile, "tags"),
            List({Value::String("a"), Value::String("b"), Value::Number(1)}));
}

TEST(Profile, AddToAScalarMakesAList) {
  Profile profile;
  profile.apply(Write(At(1), kSet, "tags", Value::String("a")));
  profile.apply(Write(At(2), kAdd, "tags", Value::Number(5)));
  EXPECT_EQ(Find(profile, "tags"), List({Value::String("a"), Value::Number(5)}));
  profile.apply(Write(At(3), kSet, "city", Value::String("Pune")));
  profile.apply(Write(At(4), kAdd, "city", Value::String("Pune")));
  EXPECT_EQ(Find(profile, "city"), List({Value::String("Pune")}));
}

TEST(Profile, RemoveTakesValuesOutOfAList) {
  Profile profile;
  const std::vector<Value> tags = {Value::String("a"), Value::String("b"), Value::String("a")};
  profile.apply(Write(At(1), kSet, "tags", Value::List(tags)));
  profile.apply(Write(At(2), kRemove, "tags", Value::String("a")));
  EXPECT_EQ(Find(profile, "tags"), List({Value::String("b")}));
  profile.apply(Write(At(3), kRemove, "tags", Value::String("none")));
  EXPECT_EQ(Find(profile, "tags"), List({Value::String("b")}));
  profile.apply(Write(At(4), kRemove, "tags", Value::String("b")));
  EXPECT_EQ(Find(profile, "tags"), OwnedValue()) << "a list without values is no property";
}

TEST(Profile, RemoveFromAScalarOrNothing) {
  Profile profile;
  profile.apply(Write(At(1), kSet, "city", Value::String("Pune")));
  profile.apply(Write(At(2), kRemove, "city", Value::String("Delhi")));
  EXPECT_EQ(Find(profile, "city"), Text("Pune"));
  profile.apply(Write(At(3), kRemove, "city", Value::String("Pune")));
  EXPECT_EQ(Find(profile, "city"), OwnedValue());
  EXPECT_TRUE(profile.apply(Write(At(4), kRemove, "none", Value::String("x"))));
  EXPECT_EQ(Find(profile, "none"), OwnedValue());
}

TEST(Profile, CountersStartAtZeroAndNeedNumbers) {
  Profile profile;
  profile.apply(Write(At(1), kIncrement, "visits", Value::Number(3)));
  profile.apply(Write(At(2), kDecrement, "visits", Value::Number(5)));
  EXPECT_EQ(Find(profile, "visits"), Number(-2));
  profile.apply(Write(At(3), kDecrement, "left", Value::Number(1)));
  EXPECT_EQ(Find(profile, "left"), Number(-1));

  profile.apply(Write(At(4), kSet, "city", Value::String("Pune")));
  EXPECT_TRUE(profile.apply(Write(At(5), kIncrement, "city", Value::Number(1))));
  EXPECT_EQ(Find(profile, "city"), Text("Pune"));
  EXPECT_TRUE(profile.apply(Write(At(6), kIncrement, "visits", Value::String("1"))));
  EXPECT_EQ(Find(profile, "visits"), Number(-2));

  profile.apply(Write(At(7), kSet, "huge", Value::Number(1.7e308)));
  EXPECT_TRUE(profile.apply(Write(At(8), kIncrement, "huge", Value::Number(1.7e308))));
  EXPECT_EQ(Find(profile, "huge"), Number(1.7e308)) << "values stay finite";
}

TEST(Profile, CommandsOfOneEventFollowEachOther) {
  Profile profile;
  profile.apply(Write(At(1, 7), kSet, "n", Value::Number(1)));
  profile.apply(Write(At(1, 7), kIncrement, "n", Value::Number(1)));
  profile.apply(Write(At(1, 7), kIncrement, "n", Value::Number(1)));
  EXPECT_EQ(Find(profile, "n"), Number(3));
  profile.apply(Write(At(1, 7), kSet, "n", Value::Number(9)));
  EXPECT_EQ(Find(profile, "n"), Number(9));
}

TEST(Profile, AnOldCommandFindsItsPlace) {
  Profile profile;
  profile.apply(Write(At(10), kSet, "city", Value::String("Pune")));
  profile.apply(Write(At(5), kSet, "city", Value::String("older")));
  profile.apply(Write(At(6), kDelete, "city"));
  EXPECT_EQ(Find(profile, "city"), Text("Pune"));

  // Relative commands add up whatever their order, but a set covers those before it.
  profile.apply(Write(At(10), kSet, "n", Value::Number(100)));
  profile.apply(Write(At(20), kIncrement, "n", Value::Number(5)));
  profile.apply(Write(At(15), kIncrement, "n", Value::Number(1)));
  EXPECT_EQ(Find(profile, "n"), Number(106));
  profile.apply(Write(At(9), kIncrement, "n", Value::Number(1000)));
  EXPECT_EQ(Find(profile, "n"), Number(106));
  profile.apply(Write(At(18), kSet, "n", Value::Number(0)));
  EXPECT_EQ(Find(profile, "n"), Number(106)) << "a set older than the newest write of any kind";
  profile.apply(Write(At(21), kSet, "n", Value::Number(0)));
  EXPECT_EQ(Find(profile, "n"), Number(0));

  // The same time: the offset decides.
  profile.apply(Write(At(30, 8), kSet, "tie", Value::Number(8)));
  profile.apply(Write(At(30, 7), kSet, "tie", Value::Number(7)));
  EXPECT_EQ(Find(profile, "tie"), Number(8));
}

TEST(Profile, ADeletionIsNotUndoneByAnOlderSet) {
  Profile profile;
  profile.apply(Write(At(10), kDelete, "city"));
  profile.apply(Write(At(5), kSet, "city", Value::String("older")));
  profile.apply(Write(At(6), kIncrement, "city", Value::Number(1)));
  EXPECT_EQ(Find(profile, "city"), OwnedValue());
  profile.apply(Write(At(11), kSet, "city", Value::String("newer")));
  EXPECT_EQ(Find(profile, "city"), Text("newer"));
}

std::string Name(int i) {
  return "p" + std::to_string(1000 + i);
}

TEST(Profile, TheNumberOfPropertiesIsBounded) {
  Profile profile;
  for (int i = 0; i < kMaxProfileProperties; ++i) {
    ASSERT_TRUE(profile.apply(Write(At(i), kSet, Name(i), Value::Number(i))));
  }
  const Profile full = profile;
  EXPECT_FALSE(profile.apply(Write(At(1000), kSet, "more", Value::Number(1))));
  EXPECT_FALSE(profile.apply(Write(At(1000), kIncrement, "more", Value::Number(1))));
  EXPECT_FALSE(profile.apply(Write(At(1000), kAdd, "more", Value::Number(1))));
  EXPECT_TRUE(profile.apply(Write(At(1000), kDelete, "more")));
  EXPECT_EQ(profile, full);
  EXPECT_TRUE(profile.apply(Write(At(1000), kSet, Name(7), Value::Number(-7))));
  EXPECT_EQ(Find(profile, Name(7)), Number(-7));

  // A deleted one gives its place.
  EXPECT_TRUE(profile.apply(Write(At(1001), kDelete, Name(3))));
  EXPECT_TRUE(profile.apply(Write(At(1002), kSet, "more", Value::Number(1))));
  EXPECT_EQ(Find(profile, "more"), Number(1));
  EXPECT_EQ(profile.properties().size(), static_cast<size_t>(kMaxProfileProperties));
  EXPECT_FALSE(profile.apply(Write(At(1003), kSet, Name(3), Value::Number(1))));
}

TEST(Profile, TheOldestTombstoneGoesFirst) {
  Profile profile;
  for (int i = 0; i < kMaxProfileProperties - 2; ++i) {
    ASSERT_TRUE(profile.apply(Write(At(i), kSet, Name(i), Value::Number(i))));
  }
  profile.apply(Write(At(2000), kDelete, "a"));
  profile.apply(Write(At(1900), kDelete, "z"));
  ASSERT_TRUE(profile.apply(Write(At(2001), kSet, "new", Value::Number(1))));
  // The tombstone of "a" still stands, that of "z" does not.
  profile.apply(Write(At(1), kSet, "a", Value::Number(1)));
  EXPECT_EQ(Find(profile, "a"), OwnedValue());
  ASSERT_TRUE(profile.apply(Write(At(1), kSet, "z", Value::Number(1))));
  EXPECT_EQ(Find(profile, "z"), Number(1));
  EXPECT_EQ(Find(profile, "new"), Number(1));
  EXPECT_EQ(profile.properties().size(), static_cast<size_t>(kMaxProfileProperties));
}

TEST(Profile, TheBytesAreBounded) {
  Profile profile;
  const std::string big(kMaxProfileBytes - 1, 'x');
  EXPECT_FALSE(profile.apply(Write(At(1), kSet, "ab", Value::String(big))));
  EXPECT_TRUE(profile.empty());
  EXPECT_TRUE(profile.apply(Write(At(1), kSet, "a", Value::String(big))));
  EXPECT_FALSE(profile.apply(Write(At(2), kSet, "b", Value::Boolean(true))));
  EXPECT_TRUE(profile.apply(Write(At(3), kSet, "a", Value::String("small"))));
  EXPECT_TRUE(profile.apply(Write(At(4), kSet, "b", Value::Boolean(true))));
}

TEST(Profile, AListIsBounded) {
  Profile profile;
  int added = 0;
  while (profile.apply(Write(At(added), kAdd, "list", Value::Number(added)))) {
    ++added;
    ASSERT_LT(added, kMaxProfileBytes);
  }
  std::vector<Value> scratch;
  EXPECT_EQ(profile.find("list", &scratch).items().size(), static_cast<size_t>(added));
  const std::vector<Value> empty(100'000, Value::String(""));
  EXPECT_FALSE(profile.apply(Write(At(1'000'000), kSet, "empty", Value::List(empty))));
}

TEST(Profile, RestoreGivesTheSame) {
  Profile profile;
  profile.apply(Write(At(1), kSet, "city", Value::String("Pune")));
  profile.apply(Write(At(2), kDelete, "age"));
  profile.apply(Write(At(3), kIncrement, "n", Value::Number(2)));
  EXPECT_EQ(Profile::Restore(profile.properties()), profile);
  std::vector<std::string> names;
  for (const auto& property : profile.properties()) names.push_back(property.name);
  EXPECT_THAT(names, testing::ElementsAre("age", "city", "n"));
}

}  // namespace
}  // namespace segmentd

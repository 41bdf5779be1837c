"""Places that the library of scenes shows, beyond those whose names the networks know."""

from swiftpie_lab.world.scenes.city import canal, rooftop
from swiftpie_lab.world.scenes.deserts import jungle_temple, oasis, pyramids
from swiftpie_lab.world.scenes.fair import disco, funfair
from swiftpie_lab.world.scenes.festive import christmas_room
from swiftpie_lab.world.scenes.flowers import lavender_field, sunflower_field, tulip_field
from swiftpie_lab.world.scenes.groves import bamboo_grove, japanese_garden, rice_terraces
from swiftpie_lab.world.scenes.halls import church, throne_room
from swiftpie_lab.world.scenes.held_out import bus_stop, hotel_corridor, orchard, tennis_court
from swiftpie_lab.world.scenes.homes import attic, bathroom, bedroom
from swiftpie_lab.world.scenes.houses import lighthouse, log_cabin, suburban_street
from swiftpie_lab.world.scenes.seaside import pier, swimming_pool
from swiftpie_lab.world.scenes.seats import cinema, train_carriage
from swiftpie_lab.world.scenes.shops import bakery, cafe, supermarket
from swiftpie_lab.world.scenes.space import moon_surface, spaceship
from swiftpie_lab.world.scenes.sport import race_track, sports_hall, stadium
from swiftpie_lab.world.scenes.streets import market, petrol_station
from swiftpie_lab.world.scenes.travel import airport, railway_station
from swiftpie_lab.world.scenes.wonders import balloon_festival, mushroom_forest, stone_circle
from swiftpie_lab.world.scenes.work import classroom, garage, greenhouse

OPEN = (
    lavender_field,
    sunflower_field,
    tulip_field,
    rice_terraces,
    bamboo_grove,
    japanese_garden,
    pyramids,
    oasis,
    balloon_festival,
    lighthouse,
    log_cabin,
    stone_circle,
    mushroom_forest,
    jungle_temple,
    airport,
    petrol_station,
    market,
    suburban_street,
    canal,
    rooftop,
    railway_station,
    pier,
    funfair,
    stadium,
    swimming_pool,
    race_track,
)

ROOFED = (
    bedroom,
    bathroom,
    classroom,
    attic,
    greenhouse,
    cafe,
    bakery,
    garage,
    christmas_room,
    church,
    sports_hall,
    supermarket,
    spaceship,
    cinema,
    disco,
    throne_room,
    train_carriage,
    moon_surface,
)

HELD_OUT = (orchard, bus_stop, tennis_court, hotel_corridor)

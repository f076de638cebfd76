"""Sentences of many subjects, for models examined without texts of their own: either half tells what the other is about."""

SENTENCES = """\
The old lighthouse keeper climbed the spiral stairs every evening to light the lamp that guided ships around the rocky cape.
Bakers knead the dough until it is smooth and elastic, then leave the loaves to rise beside the warm oven.
The surgeon washed her hands before the operation while the nurse laid out scalpels and clamps for the patient.
Goalkeepers study how strikers take penalties so that they can guess which corner of the net the football will go to.
Volcanoes erupt when molten rock rises through cracks in the crust and pours out as glowing lava and ash.
The violinist tuned her strings to the oboe before the conductor raised his baton and the orchestra began the symphony.
Farmers plough their fields in autumn so that the frost can break the soil before the wheat is sown.
The judge listened to both lawyers and told the jury to reach a verdict on the evidence given in court.
Astronomers point large telescopes at distant galaxies to measure how fast the stars in them move away from us.
The train left the platform two minutes late because a passenger had held the carriage doors for a friend.
Bees dance inside the hive to tell the others where they found flowers full of nectar and pollen.
The central bank raised interest rates again, hoping that dearer loans would slow inflation and steady the currency.
Children in the kindergarten painted pictures with their fingers and hung them to dry on the classroom wall.
Divers check the air in their tanks carefully before they sink below the waves to look at the coral reef.
The compiler reports a syntax error when the programmer forgets a bracket in the source code of a function.
Glaciers carve deep valleys as the ice slides downhill, carrying boulders and gravel in its frozen grip.
The chef reduced the sauce with red wine and butter, then poured it over the roasted duck on the plate.
Voters queued outside the polling station to elect a mayor, dropping their folded ballots into a sealed box.
The carpenter sawed the oak planks to length, sanded them and glued the joints of the new table.
Penguins huddle together through the Antarctic winter, taking turns to stand at the sheltered middle of the colony.
The novelist rewrote the last chapter eleven times before she sent the manuscript of the book to her publisher.
Electric cars store energy in heavy batteries that drivers charge overnight from a plug in the garage.
The dentist told the boy to brush his teeth twice a day so that no cavity would need a filling.
Archaeologists brushed sand from the buried temple and found clay tablets covered with an ancient script.
The goalposts of the debate moved once more as the minister denied what the opposition had read out in parliament.
Chess players learn openings by heart, but the endgame with few pieces left on the board decides most matches.
Rain fell for three days without a pause until the river burst its banks and flooded the lower town.
The tailor measured the customer's shoulders and sleeves, pinned the cloth and promised the suit for Friday.
Vaccines teach the immune system to recognise a virus, so that antibodies are ready when an infection comes.
The pilot lowered the landing gear, spoke to the control tower and set the aircraft down gently on the runway.
Sheepdogs circle the flock at a whistle from the shepherd and drive the lambs through the open gate.
The photographer waited for the evening light, changed the lens and set a slow shutter for the waterfall.
Spiders spin sticky threads between twigs and wait at the edge of the web for a fly to be caught.
The mathematician found a gap in the proof, and the theorem about prime numbers became a conjecture again.
Wolves hunt in packs over the snow, following the tracks of elk until the weakest animal falls behind.
The landlord returned the deposit after the tenants had cleaned the flat and handed over both sets of keys.
Potters throw wet clay on a turning wheel and fire the glazed bowls in a kiln at great heat.
The telephone company apologised for the broken cable that had left customers without internet for a week.
Marathon runners drink at every station, since heat and thirst slow the legs in the last ten kilometres.
The librarian stamped the borrowed books and reminded the students to return them before the end of term.
Earthquakes shake buildings when two plates of the earth's crust slip past each other along a fault.
The barista ground fresh coffee beans, steamed the milk and drew a leaf of foam on the cappuccino.
Monks copied manuscripts by candlelight in the monastery, decorating the first letter of each psalm with gold.
The mechanic drained the oil, replaced the worn brake pads and took the car for a test drive.
Whales sing to each other across whole oceans, and the deep notes travel hundreds of miles through the water.
The jeweller held the diamond under a magnifying glass and weighed the stone before she named a price.
Firefighters unrolled their hoses in front of the burning warehouse while smoke and flames burst from its roof.
The translator looked for an English word that kept the joke alive which everybody laughs at in the Italian original.
Gardeners prune their rose bushes in early spring so that strong new shoots carry more flowers in summer.
The accountant added up the invoices and found that the company had paid the same tax bill twice.
Satellites photograph clouds from orbit, which lets meteorologists forecast storms days before they reach the coast.
The referee blew the final whistle, and the players of the losing team sank down on the wet grass.
Chemists heat the solution slowly in a flask until crystals form at the bottom as the liquid cools.
The sculptor chipped at the marble block with hammer and chisel until a kneeling figure came out of the stone.
Owls hunt mice at night, for their soft feathers make no sound and their eyes see in the dark.
The widow inherited her husband's house and shares, though his will left the paintings to the museum.
Skiers wax their skis before the race because cold snow brakes the ones that are dry on the downhill slope.
The beekeeper wore a veil and blew smoke into the hive before he lifted out the combs of honey.
Refugees crossed the border on foot at night, carrying their children and a few bags to the camp.
The plumber shut off the water, cut out the leaking pipe and soldered a new piece of copper in its place.
Historians still argue why the empire fell, whether its armies, its taxes or its emperors ruined Rome.
The hikers lost the path in the fog and waited in a mountain hut until they could see the summit again.
Sugar maples are tapped in late winter, when warm days make the sweet sap rise that is boiled to syrup.
The actress forgot her lines on the opening night, and the prompter whispered them from below the stage.
Engineers tested the bridge with loaded trucks, measuring how far the steel girders bent in the middle.
The grandmother knitted a woollen scarf for each grandchild, with a different pattern of stitches in every one.
Cyclists form a line behind each other in the wind, since riding in the slipstream of the leader saves strength.
The auctioneer raised his hammer once more, but nobody in the room would bid higher for the antique clock.
Mangroves grow with their roots in salt water and shelter young fish from the waves along tropical shores.
The detective compared the fingerprints on the glass with those of the suspect and asked where he had been that night.
Weavers stretch the warp on the loom and pass the shuttle to and fro until the carpet has its pattern.
The orphaned elephant drank milk from a bottle that its keeper at the reserve brought every three hours.
""".splitlines()

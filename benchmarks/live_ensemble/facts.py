"""Plain facts and words that the prompts of `make_prompts.py` are made of; written for this benchmark."""

CAPITALS = """France:Paris Japan:Tokyo Canada:Ottawa Australia:Canberra Brazil:Brasilia|Brasília Kenya:Nairobi
Norway:Oslo Peru:Lima Turkey:Ankara Poland:Warsaw Portugal:Lisbon Egypt:Cairo Vietnam:Hanoi Hungary:Budapest
Finland:Helsinki Mongolia:Ulaanbaatar|Ulan_Bator"""

ELEMENTS = """gold:Au sodium:Na iron:Fe oxygen:O potassium:K silver:Ag lead:Pb helium:He calcium:Ca copper:Cu"""

# question, accepted answers
SCIENCE = """Which planet is closest to the Sun?=Mercury
Which gas do plants take in for photosynthesis?=carbon dioxide|CO2
What is the chemical formula of water?=H2O|H₂O
How many bones does an adult human body have?=206
At how many degrees Celsius does water boil at sea level?=100
At how many degrees Fahrenheit does water freeze?=32
Which organ pumps blood through the human body?=heart
What force pulls objects towards the Earth?=gravity|gravitational
Which is the largest ocean on Earth?=Pacific
What is the hardest natural substance?=diamond
How many legs does a spider have?=8|eight
Which planet is known as the Red Planet?=Mars
Which vitamin does the skin make in sunlight?=vitamin D|D
What is the centre of an atom called?=nucleus
Which animal is the largest on Earth?=blue whale"""

DATES = """In which year did the Second World War end?=1945
In which year did humans first land on the Moon?=1969
In which year did the Berlin Wall fall?=1989
In which year did the Titanic sink?=1912
In which year did the French Revolution begin?=1789
In which year did Columbus first reach the Americas?=1492
How many days are there in a leap year?=366
How many months of the year have 31 days?=7|seven
Which month comes after August?=September
How many hours are there in three days?=72"""

PEOPLE = """Who wrote the play Romeo and Juliet?=Shakespeare
Who painted the Mona Lisa?=Leonardo|da Vinci
Who developed the theory of general relativity?=Einstein
Who wrote Don Quixote?=Cervantes
Who composed the opera The Magic Flute?=Mozart
Who discovered penicillin?=Fleming
Who wrote the novel 1984?=Orwell
Who was the first president of the United States?=Washington"""

# number, from, to, factor
UNITS = """km:metres:1000 hours:minutes:60 kg:grams:1000 minutes:seconds:60 weeks:days:7 metres:centimetres:100
feet:inches:12 litres:millilitres:1000 days:hours:24 dozens:pieces:12"""

# English: French, German, Spanish
TRANSLATIONS = """cat:chat:Katze:gato dog:chien:Hund:perro house:maison:Haus:casa water:eau:Wasser:agua
book:livre:Buch:libro milk:lait:Milch:leche bread:pain:Brot:pan moon:lune:Mond:luna
tree:arbre:Baum:árbol|arbol
red:rouge:rot:rojo|roja
night:nuit:Nacht:noche friend:ami|amie:Freund|Freundin:amigo|amiga"""

POSITIVE = """I love this phone, the battery lasts for days and the screen is gorgeous.
The staff were friendly and the food was the best I have had all year.
What a wonderful film, I smiled from beginning to end.
Delivery was quick and the jacket fits perfectly, very happy.
An excellent course, clear and inspiring from the first lesson.
The room was spotless and the view took our breath away.
Great value, it works exactly as promised.
Our guide was brilliant and the day was unforgettable."""

NEGATIVE = """The blender broke after two days and nobody answered my mails.
A dull film with terrible acting, I left before the end.
The soup was cold, the waiter was rude, never again.
I waited three weeks and the parcel arrived damaged.
The app crashes all the time and loses my notes, useless.
The hotel was dirty and so loud that we could not sleep.
Worst purchase of the year, it smells and it does not work.
The lesson was confusing and a waste of money."""

# sentence = the thing to extract
EMAILS = """Please write to Anna at anna.berg@example.org before Friday.=anna.berg@example.org
For tickets contact box-office@theatre.example or come by at noon.=box-office@theatre.example
The report was sent by j_lopez@uni.example last night.=j_lopez@uni.example
Questions go to help@garden.example, not to the forum.=help@garden.example"""

CITIES = """Maria moved from the coast to Seville in the spring of 2011.=Seville
Last summer we drove along the river until we reached Vienna.=Vienna
The conference takes place in Nairobi, not online.=Nairobi
After the storm the train stopped for an hour in Lyon.=Lyon"""

YEARS = """The bridge was finished in 1932 after four years of work.=1932
Her first novel came out in 1987 and sold poorly.=1987
The mill burned down in 1871 and was never rebuilt.=1871
The club, founded in 1904, has two hundred members.=1904"""

WORDS = """apple river stone candle window garden pepper ladder violin tiger basket mirror lemon rocket
saddle"""

NAMES = "Ana Ben Carla David Emma Felix Grace Hugo Irene Jonas Kate Leo Mia Noah Olga Paul"

PLACES = "Rome Madrid Dublin Athens Prague Zurich Boston Chicago Denver Seattle"

JOBS = "nurse teacher baker pilot farmer painter lawyer plumber"

TOPICS = "the sea;a cat;winter;coffee;music;the Moon;a bicycle;rain;a library;friendship;the desert;a train"

# words, the odd one
ODD = """apple, banana, carrot, cherry=carrot
dog, cat, oak, horse=oak
red, blue, seven, green=seven
Paris, London, France, Rome=France
piano, guitar, hammer, violin=hammer
Monday, Friday, July, Sunday=July
shirt, jacket, spoon, trousers=spoon
eagle, sparrow, salmon, owl=salmon"""

OPPOSITES = """hot:cold early:late empty:full strong:weak buy:sell success:failure|fail ancient:modern|new|recent
push:pull arrive:depart|leave victory:defeat|loss"""
